package image

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"casemate/image/debian"
	"casemate/initramfs"
)

// The tests in this file look at what `make image` made, and use the packages
// that it has fetched.

func builtOut(t *testing.T) (string, *Manifest) {
	t.Helper()
	out := os.Getenv("CASEMATE_OUT")
	if out == "" {
		t.Skip("CASEMATE_OUT does not name a built image: run make test")
	}
	data, err := os.ReadFile(filepath.Join(out, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	m := &Manifest{}
	if err := json.Unmarshal(data, m); err != nil {
		t.Fatal(err)
	}
	return out, m
}

func trees(t *testing.T, names ...string) map[string]*debian.Tree {
	t.Helper()
	trees, err := Trees(context.Background(), names...)
	if err != nil {
		t.Fatal(err)
	}
	return trees
}

func TestOutputs(t *testing.T) {
	out, m := builtOut(t)
	var boot int64
	for _, a := range m.Artefacts {
		s, err := stage(a.Path, filepath.Join(out, a.Path), 0)
		if err != nil || s.size != a.Size || s.sha256 != a.SHA256 {
			t.Errorf("%s = %d bytes, %s, %v; the manifest says %d, %s", a.Path, s.size, s.sha256, err, a.Size, a.SHA256)
		}
		if strings.HasPrefix(a.Path, "pxe/") {
			boot += a.Size
		}
		if a.Path == "policy/policy.33" && m.Policy.Digest != "sha256:"+s.sha256 {
			t.Errorf("policy digest = %s; want that of %s, %s", m.Policy.Digest, a.Path, s.sha256)
		}
	}
	if boot > 48_000_000 {
		t.Errorf("vmlinuz, initramfs.img and boot.ipxe have %d bytes; want at most 48,000,000", boot)
	}
	sums, err := os.ReadFile(filepath.Join(out, sumsName))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(sums)) {
		digest, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		if s, err := stage(name, filepath.Join(out, name), 0); err != nil || s.sha256 != digest {
			t.Errorf("%s says %s for %s; the file has %s, %v", sumsName, digest, name, s.sha256, err)
		}
	}
}

func TestManifest(t *testing.T) {
	_, m := builtOut(t)
	packages := map[string]bool{initramfs.Own: true}
	for _, p := range m.Packages {
		packages[p.Name] = true
		if p.Version == "" || len(p.SHA256) != 64 || p.Size == 0 {
			t.Errorf("package %+v; want version, digest and size", p)
		}
	}
	files := map[string]ManifestFile{}
	for _, f := range m.Files {
		files[f.Image+f.Path] = f
		if f.Image == "root" && f.Label == "" {
			t.Errorf("%s has no label", f.Path)
		}
		if f.Type == "file" && len(f.SHA256) != 64 {
			t.Errorf("%s has the digest %q", f.Path, f.SHA256)
		}
		if !packages[f.Origin] {
			t.Errorf("%s is from %q, which is no package of the manifest", f.Path, f.Origin)
		}
		if f.Image == "root" && slices.Contains([]string{"bash", "dash", "busybox"}, f.Origin) {
			t.Errorf("%s is from %s; want no shell in the image", f.Path, f.Origin)
		}
	}
	for name, origin := range map[string]string{
		"initramfs/init": initramfs.Own, "initramfs/policy.33": initramfs.Own, "initramfs/root.erofs": initramfs.Own,
		"initramfs/modules/erofs.ko": "linux-image-" + m.Kernel.Version, "initramfs/modules/crc32c_generic.ko": "linux-image-" + m.Kernel.Version,
		"root/usr/sbin/casemate-node": initramfs.Own, "root/usr/bin/qemu-system-x86_64": "qemu-system-x86",
		"root/usr/lib64/ld-linux-x86-64.so.2": "libc6",
	} {
		if f, ok := files[name]; !ok || f.Origin != origin {
			t.Errorf("manifest has %s from %q, %v; want it from %s", name, f.Origin, ok, origin)
		}
	}
}

// What a profile names and no package has is named in the error.
func TestProfileNamesNothing(t *testing.T) {
	out, _ := builtOut(t)
	trees := trees(t, "node", "tools")
	kernel, err := findKernel(context.Background(), trees["node"], trees["tools"], filepath.Join(out, workName))
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*Profile){
		"usr/bin/nonesuch":   func(p *Profile) { p.Programs = append(p.Programs, "usr/bin/nonesuch") },
		"usr/lib/plugin.so":  func(p *Profile) { p.Plugins = append(p.Plugins, "usr/lib/plugin.so") },
		"usr/share/none.bin": func(p *Profile) { p.Files = append(p.Files, "usr/share/none.bin") },
		"no_such_module":     func(p *Profile) { p.Modules.Node = append(p.Modules.Node, "no_such_module") },
	} {
		p, err := DefaultProfile()
		if err != nil {
			t.Fatal(err)
		}
		b := &builder{profile: p, node: trees["node"], kernel: kernel}
		change(p)
		if _, err := b.root(os.Args[0], nil); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("root of a profile with %s = %v; want an error that names it", what, err)
		}
	}
}

// The real mkfs.erofs: the same bytes twice, and everything arrives in the
// image, also what is added to it later.
func TestEROFS(t *testing.T) {
	builtOut(t)
	tools := trees(t, "tools")["tools"]
	ctx, dir := context.Background(), t.TempDir()
	tree := initramfs.NewTree()
	big := bytes.Repeat([]byte("casemate "), 100_000)
	for _, e := range []initramfs.Entry{
		{Path: "/bin", Mode: fs.ModeSymlink | 0o777, Link: "usr/bin"},
		{Path: "/proc", Mode: fs.ModeDir | 0o711},
		{Path: "/usr/bin/big", Mode: 0o755, Data: big, Origin: "package"},
		{Path: "/usr/bin/own", Mode: 0o700, Data: []byte("own")},
		{Path: "/etc/casemate/casemate.yaml", Mode: 0o600, Data: []byte("name: x\n")},
	} {
		if err := tree.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	pack := func(name string) string {
		image, entries := filepath.Join(dir, name), tree.Entries()
		for i := range entries {
			entries[i].Label = "system_u:object_r:usr_t:s0"
		}
		base, own := splitOwn(entries)
		mkfs := initramfs.Mkfs(tool(tools, "mkfs.erofs"))
		if err := initramfs.WriteEROFS(ctx, mkfs, image, base, func(int) {}); err != nil {
			t.Fatal(err)
		}
		if err := initramfs.AddEROFS(ctx, mkfs, image, own); err != nil {
			t.Fatal(err)
		}
		return image
	}
	image := pack("first")
	first, _ := os.ReadFile(image)
	if second, _ := os.ReadFile(pack("second")); !bytes.Equal(first, second) {
		t.Error("packing twice gives different bytes")
	}
	if n := bytes.Count(first, []byte("system_u:object_r:usr_t:s0")); n == 0 {
		t.Error("the image has no label in it")
	}
	extracted := filepath.Join(dir, "extracted")
	if text, err := tools.Command(ctx, "fsck.erofs", "--no-preserve-owner", "--preserve-perms", "--extract="+extracted, image).CombinedOutput(); err != nil {
		t.Fatalf("fsck.erofs: %v: %s", err, text)
	}
	for _, e := range tree.Entries() {
		info, err := os.Lstat(filepath.Join(extracted, e.Path))
		if err != nil || info.Mode() != e.Mode {
			t.Errorf("%s in the image: %v; want %v", e.Path, err, e.Mode)
			continue
		}
		if data, err := os.ReadFile(filepath.Join(extracted, e.Path)); e.Mode.IsRegular() && !bytes.Equal(data, e.Data) {
			t.Errorf("%s in the image has %d bytes, %v; want %d", e.Path, len(data), err, len(e.Data))
		}
	}
}
