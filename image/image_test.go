package image

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"casemate/initramfs"

	"github.com/google/go-cmp/cmp"
)

func TestDefaultProfile(t *testing.T) {
	p, err := DefaultProfile()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"node", "tools", "trial"} {
		if s, err := p.Set(name); err != nil || len(s.Packages) == 0 {
			t.Errorf("Set(%s) = %v, %v; want packages", name, s, err)
		}
	}
	if _, err := p.Set("nonesuch"); err == nil || !strings.Contains(err.Error(), "nonesuch") {
		t.Errorf("Set(nonesuch) = %v; want an error that names it", err)
	}
	for _, word := range []string{"security=selinux", "enforcing=1"} {
		if !strings.Contains(" "+p.CommandLine+" ", " "+word+" ") {
			t.Errorf("kernel command line %q; want %s in it", p.CommandLine, word)
		}
	}
	if _, err := parseProfile([]byte("programms: [a]")); err == nil {
		t.Error("a profile with an unknown field: no error; want one")
	}
}

func TestUpstreamVersion(t *testing.T) {
	for version, want := range map[string]string{
		"1:10.0.13+ds-0+deb13u1": "10.0.13", "6.12.117-1": "6.12.117", "2.0": "2.0", "1.0-rc1-2": "1.0-rc1",
	} {
		if got := upstreamVersion(version); got != want {
			t.Errorf("upstreamVersion(%s) = %s; want %s", version, got, want)
		}
	}
}

func TestCheckLimit(t *testing.T) {
	files := []staged{{name: "pxe/vmlinuz", size: 40}, {name: "pxe/initramfs.img", size: 60}, {name: "bin/casemate", size: 1000}}
	root := []initramfs.Entry{{Path: "/small", Size: 1}, {Path: "/large", Size: 99, Origin: "fat-package"}}
	if err := checkLimit(100, files, root); err != nil {
		t.Errorf("checkLimit(100) for 40 and 60 bytes = %v; want nil", err)
	}
	err := checkLimit(99, files, root)
	if err == nil {
		t.Fatal("checkLimit(99) for 40 and 60 bytes: no error; want one")
	}
	for _, want := range []string{"100 bytes", "limit is 99", "/large", "fat-package"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("checkLimit(99) = %v; want %q in it", err, want)
		}
	}
	if strings.Index(err.Error(), "/large") > strings.Index(err.Error(), "/small") {
		t.Errorf("checkLimit(99) = %v; want the largest file first", err)
	}
}

func TestInstall(t *testing.T) {
	out := t.TempDir()
	if err := os.Mkdir(filepath.Join(out, workName), 0o755); err != nil {
		t.Fatal(err)
	}
	put := func(text string) []staged {
		name := filepath.Join(out, workName, "a")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := stage("dir/a", name, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		return []staged{s}
	}
	stat := func() fs.FileInfo {
		info, err := os.Stat(filepath.Join(out, "dir/a"))
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	if err := install(out, put("one")); err != nil {
		t.Fatal(err)
	}
	first := stat()
	if first.Mode() != 0o644 {
		t.Errorf("mode = %v; want 0644", first.Mode())
	}
	sums, _ := os.ReadFile(filepath.Join(out, sumsName))
	if want := "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed  dir/a\n"; string(sums) != want {
		t.Errorf("%s = %q; want %q", sumsName, sums, want)
	}
	if err := install(out, put("one")); err != nil || !os.SameFile(first, stat()) {
		t.Errorf("install of the same = %v; want the file left alone", err)
	}
	// Whole again, whatever somebody did to it.
	if err := os.WriteFile(filepath.Join(out, "dir/a"), []byte("two"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := install(out, put("one")); err != nil || os.SameFile(first, stat()) {
		t.Errorf("install over a changed file = %v; want it replaced", err)
	}
	// A build that fails half-way leaves no sums behind.
	files := put("three")
	files[0].file += "-gone"
	if err := install(out, files); err == nil {
		t.Error("install of a file that is not there: no error; want one")
	}
	if _, err := os.Stat(filepath.Join(out, sumsName)); !os.IsNotExist(err) {
		t.Errorf("%s after a failed install: %v; want none", sumsName, err)
	}
}

func TestSplitOwn(t *testing.T) {
	tree := initramfs.NewTree()
	for _, e := range []initramfs.Entry{
		{Path: "/usr/sbin/casemate-node", Mode: 0o755},
		{Path: "/usr/sbin/init", Mode: fs.ModeSymlink | 0o777, Link: "casemate-node"},
		{Path: "/usr/bin/qemu", Mode: 0o755, Origin: "qemu"},
		{Path: "/proc", Mode: fs.ModeDir | 0o755},
	} {
		if err := tree.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	paths := func(entries []initramfs.Entry) (list []string) {
		for _, e := range entries {
			list = append(list, e.Path)
		}
		return list
	}
	base, own := splitOwn(tree.Entries())
	// Every directory above is named again: see initramfs.AddEROFS.
	if diff := cmp.Diff([]string{"/", "/usr", "/usr/sbin", "/usr/sbin/casemate-node"}, paths(own)); diff != "" {
		t.Errorf("own (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/", "/proc", "/usr", "/usr/bin", "/usr/bin/qemu", "/usr/sbin", "/usr/sbin/init"}, paths(base)); diff != "" {
		t.Errorf("base (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(paths(tree.Entries()), paths(joinOwn(base, own))); diff != "" {
		t.Errorf("joined (-want +got):\n%s", diff)
	}
}

func TestFindSource(t *testing.T) {
	source, err := FindSource(".")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(source, "image", "image_test.go")); err != nil {
		t.Errorf("FindSource(.) = %s: %v", source, err)
	}
	if dir, err := FindSource(t.TempDir()); err == nil {
		t.Errorf("FindSource of an empty directory = %s; want an error", dir)
	}
}

func TestAppendIsChecked(t *testing.T) {
	for _, bad := range []string{"a\nshell", "${net0/mac}", "a && shell", "a || shell"} {
		_, err := newBuild(Options{Append: bad, Out: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), "append") {
			t.Errorf("newBuild with the kernel arguments %q = %v; want an error", bad, err)
		}
	}
	if _, err := newBuild(Options{Append: "casemate.config=http://192.0.2.1/x?a=b&c=d", Out: t.TempDir()}); err != nil {
		t.Errorf("newBuild with a URL = %v; want no error", err)
	}
}

func TestProgressWithoutTerminal(t *testing.T) {
	var text strings.Builder
	p := &Progress{w: &text}
	p.Report("fetch", 0, 100)
	p.Report("fetch", 50, 100)
	p.Note("slow")
	p.Report("fetch", 100, 100)
	p.Report("pack", 0, 1)
	p.Report("pack", 1, 1)
	if diff := cmp.Diff("fetch ...\nnote: slow\nfetch: 0.0s\npack: 0.0s\n", text.String()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
