package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMakeDirs "mounts" directories below a temporary one.
func TestMakeDirs(t *testing.T) {
	for _, tt := range []struct {
		exists, want string
		made         []string
	}{
		{"/e/web", "/e/web", nil},
		{"/e", "/e/web", []string{"/e/web"}},
		{"/e", "/e/a/b/c", []string{"/e/a", "/e/a/b", "/e/a/b/c"}},
		{"/", "/e/a", []string{"/e", "/e/a"}},
	} {
		server := t.TempDir()
		if err := os.MkdirAll(server+tt.exists, 0o755); err != nil {
			t.Fatal(err)
		}
		mounts := 0
		made, err := MakeDirs(dir("filer", "10.0.0.1:2049", tt.want), self, func(d Directory) (string, func() error, error) {
			target := filepath.Join(server, d.Path)
			if _, err := os.Stat(target); err != nil {
				return "", nil, fmt.Errorf("mount: %w", err)
			}
			mounts++
			return target, func() error { mounts--; return nil }, nil
		})
		if err != nil || !slices.Equal(made, tt.made) || mounts != 0 {
			t.Errorf("MakeDirs(%s) below %s = %v, %v, %d mounts left; want %v", tt.want, tt.exists, made, err, mounts, tt.made)
		}
		if st, err := os.Stat(server + tt.want); err != nil || !st.IsDir() {
			t.Errorf("%s afterwards: %v", tt.want, err)
		}
	}
}

func TestMakeDirsFails(t *testing.T) {
	top := t.TempDir()
	if err := os.Symlink("/", filepath.Join(top, "link")); err != nil {
		t.Fatal(err)
	}
	nothing := func(Directory) (string, func() error, error) { return "", nil, unix.ENOENT }
	denied := func(Directory) (string, func() error, error) { return "", nil, unix.EACCES }
	root := func(d Directory) (string, func() error, error) {
		if d.Path != "/" {
			return "", nil, unix.ENOENT
		}
		return top, func() error { return nil }, nil
	}
	for _, tt := range []struct {
		path  string
		mount Mounter
		want  error
	}{
		{"/e/a", nothing, fs.ErrNotExist},
		{"/e/a", denied, fs.ErrPermission},
		{"/link/etc", root, unix.ENOTDIR},
	} {
		d := Directory{"filer", netip.MustParseAddrPort("10.0.0.1:2049"), tt.path}
		if made, err := MakeDirs(d, self, tt.mount); !errors.Is(err, tt.want) {
			t.Errorf("MakeDirs(%s) = %v, %v; want %v", tt.path, made, err, tt.want)
		}
	}
}
