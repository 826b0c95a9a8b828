package initramfs

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"
	"github.com/ulikunitz/xz"
)

func TestTree(t *testing.T) {
	tree := NewTree()
	for _, e := range []Entry{
		{Path: "/usr/bin/b", Mode: 0o755, Origin: "pkg"},
		{Path: "/usr", Mode: fs.ModeDir | 0o711}, // there already, as a parent
		{Path: "/a", Mode: fs.ModeSymlink | 0o777, Link: "usr"},
	} {
		if err := tree.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []Entry{
		{Path: "/usr/bin/b", Mode: 0o755},
		{Path: "/usr/bin/b/c", Mode: 0o755},
		{Path: "/a/x", Mode: 0o755},
		{Path: "/usr", Mode: 0o644},
		{Path: "usr/c"},
		{Path: "/usr/../c"},
	} {
		if err := tree.Add(bad); err == nil {
			t.Errorf("Add(%s): no error; want one", bad.Path)
		}
	}
	var got []string
	for _, e := range tree.Entries() {
		got = append(got, e.Path+" "+e.Mode.String()+" "+e.Origin)
	}
	want := []string{"/ drwxr-xr-x casemate", "/a Lrwxrwxrwx casemate", "/usr drwx--x--x casemate", "/usr/bin drwxr-xr-x casemate", "/usr/bin/b -rwxr-xr-x pkg"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Entries (-want +got):\n%s", diff)
	}
}

func TestKey(t *testing.T) {
	base := []Entry{{Path: "/a", Mode: 0o644, Data: []byte("x"), Label: "l"}, {Path: "/d", Mode: fs.ModeDir | 0o755}}
	want, err := Key(base, "options")
	if err != nil {
		t.Fatal(err)
	}
	if same, _ := Key(base, "options"); same != want {
		t.Error("Key differs for the same entries")
	}
	if other, _ := Key(base, "others"); other == want {
		t.Error("Key is the same for other options")
	}
	for what, change := range map[string]func(*Entry){
		"path": func(e *Entry) { e.Path = "/b" }, "mode": func(e *Entry) { e.Mode = 0o600 },
		"data": func(e *Entry) { e.Data = []byte("y") }, "label": func(e *Entry) { e.Label = "m" },
		"origin": func(e *Entry) { e.Origin = "p" }, "xz": func(e *Entry) { e.XZ = true },
	} {
		changed := append([]Entry(nil), base...)
		change(&changed[0])
		if got, _ := Key(changed, "options"); got == want {
			t.Errorf("Key is the same after a change of %s", what)
		}
	}
}

func TestContent(t *testing.T) {
	dir := t.TempDir()
	var packed bytes.Buffer
	w, err := xz.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "module")
	w.Close()
	name := filepath.Join(dir, "m.ko.xz")
	if err := os.WriteFile(name, packed.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	e := Entry{Source: name, XZ: true}
	if got, err := e.content(); string(got) != "module" || err != nil || e.Size != 6 {
		t.Errorf("content = %q, %v, size %d; want module, size 6", got, err, e.Size)
	}
	e.Digest = strings.Repeat("0", 64)
	if got, err := e.content(); err == nil {
		t.Errorf("content of a file that has changed = %q; want an error", got)
	}
}

func TestWriteInitramfs(t *testing.T) {
	stored := []Entry{{Path: "/root.erofs", Mode: 0o644, Data: []byte("12345")}}
	packed := []Entry{
		{Path: "/", Mode: fs.ModeDir | 0o755},
		{Path: "/dev", Mode: fs.ModeDir | 0o755},
		{Path: "/dev/console", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, Major: 5, Minor: 1},
		{Path: "/init", Mode: 0o755, Data: []byte("#!")},
	}
	var first, second bytes.Buffer
	for _, w := range []*bytes.Buffer{&first, &second} {
		if err := WriteInitramfs(w, stored, packed); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("WriteInitramfs twice gives different bytes")
	}
	// The kernel wants the plain archive at the start and whatever follows it at
	// a multiple of four.
	at := bytes.Index(first.Bytes(), []byte{0x28, 0xb5, 0x2f, 0xfd}) // zstd's magic
	if at < 0 || at%4 != 0 {
		t.Fatalf("the compressed archive is at %d; want a multiple of 4", at)
	}
	z, err := zstd.NewReader(bytes.NewReader(first.Bytes()[at:]))
	if err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, archive := range [][]byte{first.Bytes()[:at], rest} {
		records, err := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(archive)))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			got = append(got, r.Info.String())
			if r.MTime != 0 || r.UID != 0 || r.GID != 0 {
				t.Errorf("%s has time %d and owner %d:%d; want 0", r.Name, r.MTime, r.UID, r.GID)
			}
		}
	}
	text := strings.Join(got, "\n")
	for _, want := range []string{"root.erofs", "dev: Ino", "dev/console", "init"} {
		if !strings.Contains(text, want) {
			t.Errorf("archives have no %s:\n%s", want, text)
		}
	}
}

func TestResolve(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"usr/lib", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"lib": "usr/lib", "usr/lib/x.so": "x.so.1", "usr/lib/abs.so": "/usr/lib/x.so.1",
		"usr/lib/up.so": "../../../../usr/lib/x.so.1", "loop": "loop", "gone": "nowhere", "etc/out": "/etc/passwd",
	} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "usr/lib/x.so.1"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, want string }{
		{"lib/x.so", "usr/lib/x.so.1"},
		{"/lib/abs.so", "usr/lib/x.so.1"},
		{"lib/up.so", "usr/lib/x.so.1"},
		{"../../lib/x.so", "usr/lib/x.so.1"},
		{"loop", ""}, {"gone", ""}, {"lib/y.so", ""},
		{"etc/out", ""}, // the host has this file, the tree does not
	}
	for _, test := range tests {
		got, err := Resolve(root, test.name)
		if got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("Resolve(%s) = %q, %v; want %q", test.name, got, err, test.want)
		}
	}
}
