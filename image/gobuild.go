package image

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// FindSource gives the directory of casemate's own source, which is dir or
// above it: images hold programs that are built from it.
func FindSource(dir string) (string, error) {
	start, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if first, _, _ := strings.Cut(string(data), "\n"); err == nil && strings.TrimSpace(first) == "module casemate" {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find casemate's source: neither %s nor a directory above it holds it: run this in a clone of casemate", start)
		}
	}
}

// programs are built from source, by directory below cmd/.
var programs = []string{"casemate", "casemate-node", "casemate-stage0"}

// goBuild builds the programs into out, the same bytes wherever it runs: no
// paths, no version control, no C compiler, one instruction set.
func goBuild(ctx context.Context, source, out string) error {
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", out + "/"}
	for _, name := range programs {
		args = append(args, "./cmd/"+name)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "GOEXPERIMENT=",
		"GOFLAGS=", "GOFIPS140=off", "GOWORK=off")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build casemate's programs: %w\n%s", err, bytes.TrimSpace(output.Bytes()))
	}
	return nil
}
