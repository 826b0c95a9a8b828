package initramfs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var depmodFiles = map[string]string{
	"modules.dep": `kernel/fs/erofs/erofs.ko.xz: kernel/lib/libcrc32c.ko.xz
kernel/lib/libcrc32c.ko.xz:
kernel/crypto/crc32c_generic.ko.xz:
kernel/arch/x86/crypto/crc32c-intel.ko.xz:
kernel/fs/nfs/nfsv4.ko.xz: kernel/fs/nfs/nfs.ko.xz kernel/net/sunrpc/sunrpc.ko.xz
kernel/fs/nfs/nfs.ko.xz: kernel/net/sunrpc/sunrpc.ko.xz
kernel/net/sunrpc/sunrpc.ko.xz:
kernel/net/r8169.ko.xz:
kernel/net/phy/realtek.ko.xz:
kernel/net/unrelated.ko.xz:
`,
	"modules.alias": `# Aliases extracted from modules themselves.
alias crc32c crc32c_intel
alias crypto-crc32c crc32c_intel
alias crc32c crc32c_generic
alias pci:v000010ECd00008168sv*sd*bc*sc*i* r8169
alias pci:v00001234d* unrelated
`,
	"modules.softdep": `softdep libcrc32c pre: crc32c
softdep r8169 pre: realtek
softdep realtek post: r8169
softdep nfsv4 pre: nobody-has-this
softdep unrelated pre: nfs
`,
	"modules.builtin": "kernel/drivers/virtio/virtio_pci.ko\n",
}

func readTestModules(t *testing.T) *Modules {
	t.Helper()
	dir := t.TempDir()
	for name, text := range depmodFiles {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m, err := ReadModules(dir, dir)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestModuleClosure(t *testing.T) {
	m := readTestModules(t)
	tests := []struct {
		names []string
		want  []string
		err   string // what the error names
	}{
		// The portable crc32c before the one for some processors, both before
		// the module that asks for any.
		{names: []string{"erofs"}, want: []string{"crc32c_generic", "crc32c_intel", "libcrc32c", "erofs"}},
		{names: []string{"nfsv4"}, want: []string{"sunrpc", "nfs", "nfsv4"}},
		{names: []string{"nfs", "nfsv4"}, want: []string{"sunrpc", "nfs", "nfsv4"}},
		{names: []string{"r8169"}, want: []string{"realtek", "r8169"}}, // a circle
		{names: []string{"crc32c-intel"}, want: []string{"crc32c_intel"}},
		{names: []string{"kernel/net/*"}, want: []string{"realtek", "r8169", "sunrpc", "nfs", "unrelated"}},
		{names: []string{"virtio-pci"}, want: nil}, // built in
		{names: []string{"erofs", "nonesuch"}, err: "nonesuch"},
		{names: []string{"kernel/drivers/scsi/*"}, err: "kernel/drivers/scsi/*"},
		{names: []string{"kernel/[/x"}, err: "kernel/[/x"},
	}
	for _, test := range tests {
		got, err := m.Closure(test.names)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("Closure(%q) = %v, %v; want an error that names %s", test.names, got, err, test.err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("Closure(%q) = %v, %v; want %v", test.names, got, err, test.want)
		}
	}
}

func TestModuleIndex(t *testing.T) {
	m := readTestModules(t)
	got := map[string]string{}
	for name, data := range m.Index([]string{"sunrpc", "nfs", "realtek", "r8169"}) {
		got[name] = string(data)
	}
	want := map[string]string{
		"modules.dep": `kernel/fs/nfs/nfs.ko: kernel/net/sunrpc/sunrpc.ko
kernel/net/r8169.ko:
kernel/net/phy/realtek.ko:
kernel/net/sunrpc/sunrpc.ko:
`,
		"modules.alias":   "alias pci:v000010ECd00008168sv*sd*bc*sc*i* r8169\n",
		"modules.softdep": "softdep r8169 pre: realtek\nsoftdep realtek post: r8169\n",
		"modules.builtin": "kernel/drivers/virtio/virtio_pci.ko\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Index (-want +got):\n%s", diff)
	}
}
