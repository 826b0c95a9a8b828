package image

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const sumsName = "SHA256SUMS"

// staged is a finished file that waits to be moved to its place below out.
type staged struct {
	name   string // relative to out
	file   string
	mode   os.FileMode
	size   int64
	sha256 string
}

func stage(name, file string, mode os.FileMode) (staged, error) {
	s := staged{name: name, file: file, mode: mode}
	f, err := os.Open(file)
	if err != nil {
		return s, err
	}
	defer f.Close()
	h := sha256.New()
	s.size, err = io.Copy(h, f)
	s.sha256 = hex.EncodeToString(h.Sum(nil))
	return s, err
}

// install moves the files to their places. Each is replaced atomically, and
// SHA256SUMS is taken away first and comes back last: outputs with it are whole
// and belong together. When nothing has changed, nothing is touched.
func install(out string, files []staged) error {
	slices.SortFunc(files, func(a, b staged) int { return strings.Compare(a.name, b.name) })
	var sums bytes.Buffer
	for _, f := range files {
		fmt.Fprintf(&sums, "%s  %s\n", f.sha256, f.name)
	}
	sumsFile := filepath.Join(out, sumsName)
	if old, err := os.ReadFile(sumsFile); err == nil && bytes.Equal(old, sums.Bytes()) && unchanged(out, files) {
		return nil
	}
	if err := os.Remove(sumsFile); err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, f := range files {
		if err := replace(filepath.Join(out, f.name), f); err != nil {
			return fmt.Errorf("write %s: %w", f.name, err)
		}
	}
	part := filepath.Join(out, workName, sumsName)
	if err := os.WriteFile(part, sums.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(part, sumsFile)
}

func replace(target string, f staged) error {
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if err := os.Chmod(f.file, f.mode); err != nil {
		return err
	}
	return os.Rename(f.file, target)
}

// unchanged reports whether the outputs are the staged files; size and digest,
// as somebody may have written into them.
func unchanged(out string, files []staged) bool {
	for _, f := range files {
		info, err := os.Stat(filepath.Join(out, f.name))
		if err != nil || info.Size() != f.size {
			return false
		}
		old, err := stage(f.name, filepath.Join(out, f.name), f.mode)
		if err != nil || old.sha256 != f.sha256 {
			return false
		}
	}
	return true
}
