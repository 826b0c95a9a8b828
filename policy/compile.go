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
	"strings"
)

// Version is the binary policy version that the image loads. Linux 6.12 reads
// up to 33 (security/selinux/include/security.h, POLICYDB_VERSION_MAX).
const Version = 33

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
		Policy:       filepath.Join(dir, fmt.Sprintf("policy.%d", Version)),
		FileContexts: filepath.Join(dir, "file_contexts"),
		Version:      Version,
	}
	args := []string{"-M", "true", "-P", "-c", fmt.Sprint(Version), "-U", "deny", "-o", out.Policy, "-f", out.FileContexts}
	for _, f := range files {
		args = append(args, f)
	}
	cmd := secilc(ctx, args...)
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
