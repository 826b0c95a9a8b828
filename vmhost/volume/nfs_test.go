package volume

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"casemate/policy"
)

// testMountNFS makes the directory of a volume, mounts it under two labels and
// opens the file.
func testMountNFS(t *testing.T, name string) {
	ref, err := Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	d, err := ref.Resolve(ctx)
	if err != nil {
		t.Fatal(err)
	}
	id := Identity{1000, 1000}
	mount := func(d Directory) (string, func() error, error) {
		target := t.TempDir()
		err := MountNFS(ctx, d, target, vmContext, false)
		return target, func() error { return unix.Unmount(target, 0) }, err
	}
	if _, _, err := mount(Directory{d.Server, d.Addr, d.Path + "/missing"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("MountNFS of a missing directory = %v; want %v", err, fs.ErrNotExist)
	}
	made, err := MakeDirs(d, Identity{}, mount)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("made %v", made)

	if err := MountNFS(ctx, d, t.TempDir(), strings.Replace(vmContext, "svirt_image_t", "nonsense_t", 1), false); !errors.Is(err, unix.EINVAL) {
		t.Errorf("MountNFS with an unknown type = %v; want %v", err, unix.EINVAL)
	}

	// Read-only first: it must not make the next mount with this label read-only.
	ro := t.TempDir()
	if err := MountNFS(ctx, d, ro, vmContext, true); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(ro, unix.MNT_DETACH)
	if _, err := Create(ro, ref.File, Identity{}); !errors.Is(err, unix.EROFS) {
		t.Errorf("Create on a read-only mount = %v; want %v", err, unix.EROFS)
	}

	a, b := t.TempDir(), t.TempDir()
	other := strings.Replace(vmContext, "c1,c2", "c3,c4", 1)
	for target, context := range map[string]string{a: vmContext, b: other} {
		if err := MountNFS(ctx, d, target, context, false); err != nil {
			t.Fatal(err)
		}
		defer unix.Unmount(target, unix.MNT_DETACH)
		if err := verifyMount(d, target, context); err != nil {
			t.Errorf("verifyMount(%s, %s) = %v", target, context, err)
		}
	}
	if err := verifyMount(d, a, other); err == nil {
		t.Error("verifyMount with another VM's label = nil")
	}
	if err := os.Chmod(a, 0o777); err != nil {
		t.Error(err)
	}
	f, err := Create(a, ref.File, id)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, _ := f.ReadWrite.Stat()
	if uid := st.Sys().(*unixStat).Uid; uid != id.UID {
		t.Errorf("%s belongs to %d; want %d", ref.File, uid, id.UID)
	}
	for target, context := range map[string]string{a: vmContext, b: other} {
		if got, err := policy.FileLabel(filepath.Join(target, ref.File)); err != nil || got != context {
			t.Errorf("label of the file in %s = %s, %v; want %s", target, got, err, context)
		}
	}
	if err := Remove(b, ref.File, id); err != nil {
		t.Error(err)
	}
}
