package policy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"casemate/policy/mcs"
)

// BinaryVersion is the binary policy version that the image loads. Linux 6.12 reads
// up to 33 (security/selinux/include/security.h, POLICYDB_VERSION_MAX).
const BinaryVersion = 33

//go:embed cil/*.cil
var sources embed.FS

// Sources gives the CIL files, cil/*.cil.
func Sources() fs.FS { return sources }

// Compiled is what Compile wrote.
type Compiled struct {
	Policy       string // path of the binary policy
	FileContexts string // path of the file_contexts that belongs to it
	Version      int
	Digest       string // "sha256:" and hex, of Policy
}

// Compile writes policy.33 and file_contexts into dir. secilc gives the command
// that runs SELinux's CIL compiler (package secilc, version 3.8) with args.
// neverallow rules are checked here and only here: the binary has none.
func Compile(ctx context.Context, secilc func(ctx context.Context, args ...string) *exec.Cmd, dir string) (Compiled, error) {
	return compile(ctx, secilc, dir, map[string]string{"cil/categories.cil": categoriesCIL()})
}

// compile takes more CIL by file name, beside the sources.
func compile(ctx context.Context, secilc func(ctx context.Context, args ...string) *exec.Cmd, dir string, more map[string]string) (Compiled, error) {
	dir, err := filepath.Abs(dir) // secilc runs in another directory
	if err != nil {
		return Compiled{}, err
	}
	src, err := os.MkdirTemp(dir, ".cil-")
	if err != nil {
		return Compiled{}, err
	}
	defer os.RemoveAll(src)
	if err := os.CopyFS(src, sources); err != nil {
		return Compiled{}, err
	}
	files, err := fs.Glob(sources, "cil/*.cil")
	if err != nil {
		return Compiled{}, err
	}
	out := Compiled{
		Policy:       filepath.Join(dir, fmt.Sprintf("policy.%d", BinaryVersion)),
		FileContexts: filepath.Join(dir, "file_contexts"),
		Version:      BinaryVersion,
	}
	for name, text := range more {
		if err := os.WriteFile(filepath.Join(src, name), []byte(text), 0o644); err != nil {
			return Compiled{}, err
		}
		files = append(files, name)
	}
	slices.Sort(files) // the order of declarations shows in the binary
	args := []string{"-M", "true", "-P", "-c", fmt.Sprint(BinaryVersion), "-U", "deny", "-o", out.Policy, "-f", out.FileContexts}
	cmd := secilc(ctx, append(args, files...)...)
	cmd.Dir = src
	var msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &msg, &msg
	if err := cmd.Run(); err != nil {
		return Compiled{}, fmt.Errorf("compile SELinux policy: %w\n%s", err, strings.TrimSpace(msg.String()))
	}
	b, err := os.ReadFile(out.Policy)
	if err != nil {
		return Compiled{}, err
	}
	sum := sha256.Sum256(b)
	out.Digest = "sha256:" + hex.EncodeToString(sum[:])
	return out, nil
}

// categoriesCIL declares c0 to c1023: 1,024 lines that say nothing are better
// written by a loop.
func categoriesCIL() string {
	var decl, order strings.Builder
	for i := range mcs.Categories {
		fmt.Fprintf(&decl, "(category c%d)\n", i)
		fmt.Fprintf(&order, " c%d", i)
	}
	return fmt.Sprintf("%s(categoryorder (%s))\n(sensitivitycategory s0 (range c0 c%d))\n", decl.String(), order.String(), mcs.Categories-1)
}
