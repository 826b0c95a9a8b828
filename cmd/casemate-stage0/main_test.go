package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseOrder(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []string
		ok   bool
	}{
		{"", nil, true},
		{"crc32c_generic.ko\nlibcrc32c.ko\nloop.ko\n", []string{"crc32c_generic.ko", "libcrc32c.ko", "loop.ko"}, true},
		{"../evil.ko\n", nil, false},
		{"loop.ko.xz\n", nil, false},
	} {
		got, err := parseOrder(tt.in)
		if !slices.Equal(got, tt.want) || (err == nil) != tt.ok {
			t.Errorf("parseOrder(%q) = %q, %v; want %q, ok %v", tt.in, got, err, tt.want, tt.ok)
		}
	}
}

func FuzzParseOrder(f *testing.F) {
	f.Add("a.ko\nb.ko")
	f.Add("../a.ko /b.ko")
	f.Fuzz(func(t *testing.T, s string) {
		names, err := parseOrder(s)
		for _, name := range names {
			if err == nil && strings.Contains(name, "/") {
				t.Errorf("parseOrder(%q) lets %q out of its directory", s, name)
			}
		}
	})
}

// What fails names its object, so that the one line on the console is enough.
func TestErrorsNameObject(t *testing.T) {
	dir := t.TempDir()
	if err := loadModules(dir); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "order") {
		t.Errorf("loadModules without order = %v; want an error that names it", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "order"), []byte("loop.ko\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := loadModules(dir); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "loop.ko") {
		t.Errorf("loadModules without loop.ko = %v; want an error that names it", err)
	}
	err := hint(pseudo[3], unix.ENOENT)
	if !strings.Contains(err.Error(), "security=selinux") {
		t.Errorf("hint for selinuxfs = %v; want it to name security=selinux", err)
	}
}
