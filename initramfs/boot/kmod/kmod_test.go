package kmod

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const aliasFile = `# Aliases extracted from modules themselves.
alias pci:v00008086d0000100Esv*sd*bc*sc*i* e1000
alias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e
alias pci:v*d*sv*sd*bc01sc06i01* ahci
alias virtio:d00000001v* virtio_net
alias acpi*:QEMU0002:* qemu_fw_cfg
alias acpi*:PNP0C0C:* button
alias crypto-crc32c crc32c_generic
alias crypto-crc32c crc32c_intel
alias usb:v0525pA4A2d*dc*dsc*dp*ic*isc*ip*in* cdc_ether
alias usb:v04BBp0901d*dc*dsc*dp*ic*isc*ip*in[0-3] kaweth
`

func TestLookup(t *testing.T) {
	a := parseAliases(aliasFile)
	for _, tt := range []struct {
		modalias string
		want     []string
	}{
		{"pci:v00008086d000010D3sv00008086sd00000000bc02sc00i00", []string{"e1000e"}},
		{"pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01", []string{"ahci"}},
		{"virtio:d00000001v00001AF4", []string{"virtio_net"}},
		{"virtio:d00000002v00001AF4", nil},
		{"acpi:QEMU0002:", []string{"qemu_fw_cfg"}},
		{"acpi:LNXPWRBN:PNP0C0C:", []string{"button"}},
		{"crypto_crc32c", []string{"crc32c_generic", "crc32c_intel"}},
		{"usb:v04BBp0901d1dc2dsc3dp4ic5isc6ip7in2", []string{"kaweth"}},
		{"usb:v04BBp0901d1dc2dsc3dp4ic5isc6ip7in4", nil},
		{"", nil},
	} {
		got := a.lookup(tt.modalias)
		slices.Sort(got)
		if !slices.Equal(got, tt.want) {
			t.Errorf("lookup(%q) = %q; want %q", tt.modalias, got, tt.want)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"**", "abc", true},
		{"a*c", "abbbc", true}, {"a*c", "abbb", false}, {"a?c", "abc", true}, {"a?c", "ac", false},
		{"*/x", "a/b/x", true},
		{"[a-c]x", "bx", true}, {"[!a-c]x", "bx", false}, {"[^a-c]x", "dx", true},
		{"[]x]", "]", true}, {"[", "[", true}, {"[a", "[a", true}, {`\*`, "*", true}, {`\*`, "a", false},
		{"a*b*c*d", "a1b2c3d", true}, {"*a*a*a*a*a*b", strings.Repeat("a", 50), false},
	} {
		if got := match(tt.pattern, tt.s); got != tt.want {
			t.Errorf("match(%q, %q) = %v; want %v", tt.pattern, tt.s, got, tt.want)
		}
	}
}

// path.Match is the reference where the two agree on the syntax.
func FuzzMatch(f *testing.F) {
	f.Add("pci:v00008086d*sv*", "pci:v00008086d000010D3sv00")
	f.Add("a?c*", "abc")
	f.Add("[a-c]", "b")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		got := match(pattern, s)
		if strings.ContainsAny(pattern, `[]\`) || strings.Contains(s, "/") || !ascii(pattern+s) {
			return
		}
		if want, err := path.Match(pattern, s); err == nil && got != want {
			t.Errorf("match(%q, %q) = %v; want %v", pattern, s, got, want)
		}
	})
}

func ascii(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}

// The index must find what trying each pattern finds.
func FuzzLookup(f *testing.F) {
	f.Add(aliasFile, "pci:v00008086d0000100Esv0sd0bc0sc0i0")
	f.Add("alias * all\nalias  x\nalias a-b[c-d] m", "a_bc")
	f.Fuzz(func(t *testing.T, file, modalias string) {
		a := parseAliases(file)
		var want []string
		for _, e := range a.entries {
			if match(e.pattern, modalias) && !contains(want, e.module) {
				want = append(want, e.module)
			}
		}
		got := a.lookup(modalias)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("lookup(%q) in %q = %q; want %q", modalias, file, got, want)
		}
	})
}

// tree writes depmod's files and gives a Loader that records instead of loading.
func tree(t *testing.T, deps, softdep string, fail map[string]error) (*Loader, func() []string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"modules.dep": deps, "modules.softdep": softdep, "modules.alias": aliasFile,
		"modules.builtin": "kernel/drivers/virtio/virtio_pci.ko\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Open(dir)
	if err != nil {
		t.Fatalf("Open = %v", err)
	}
	var mu sync.Mutex
	var loaded []string
	l.load = func(file string) error {
		mu.Lock()
		defer mu.Unlock()
		name := moduleName(file)
		loaded = append(loaded, name)
		return fail[name]
	}
	return l, func() []string { mu.Lock(); defer mu.Unlock(); return loaded }
}

const depFile = `kernel/fs/erofs/erofs.ko: kernel/lib/libcrc32c.ko kernel/fs/netfs/netfs.ko
kernel/lib/libcrc32c.ko:
kernel/fs/netfs/netfs.ko:
kernel/crypto/crc32c_generic.ko:
kernel/arch/x86/crypto/crc32c-intel.ko:
kernel/a.ko:
kernel/b.ko:
`

func TestLoadOrder(t *testing.T) {
	l, loaded := tree(t, depFile, "softdep libcrc32c pre: crypto-crc32c\n", map[string]error{"crc32c_intel": fs.ErrInvalid})
	if err := l.Load("erofs"); err != nil {
		t.Fatalf("Load(erofs) = %v", err)
	}
	got := loaded()
	at := func(name string) int { return slices.Index(got, name) }
	if len(got) != 5 || at("crc32c_generic") > at("libcrc32c") || at("libcrc32c") > at("erofs") || at("netfs") > at("erofs") {
		t.Errorf("Load(erofs) loaded %q; want netfs, crc32c_*, libcrc32c before erofs", got)
	}
	if err := l.Load("erofs"); err != nil || len(loaded()) != 5 {
		t.Errorf("second Load(erofs) = %v, loaded %q; want nothing new", err, loaded())
	}
	if err := l.Load("virtio-pci"); err != nil || len(loaded()) != 5 {
		t.Errorf("Load(virtio-pci) = %v, loaded %q; want nothing, as it is built in", err, loaded())
	}
}

func TestLoadErrors(t *testing.T) {
	l, _ := tree(t, depFile, "", map[string]error{"netfs": fs.ErrPermission})
	if err := l.Load("nfsv4"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "nfsv4") {
		t.Errorf("Load of a missing module = %v; want ErrNotExist that names it", err)
	}
	err := l.Load("erofs")
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "netfs") || !strings.Contains(err.Error(), "erofs") {
		t.Errorf("Load with a broken dependency = %v; want it to name netfs and erofs", err)
	}
}

// Modules that name each other as soft dependencies must neither recurse for
// ever nor wait for each other.
func TestLoadCycle(t *testing.T) {
	l, loaded := tree(t, depFile, "softdep a pre: b\nsoftdep b pre: a post: a\n", nil)
	var wg sync.WaitGroup
	for range 8 {
		for _, name := range []string{"a", "b"} {
			wg.Go(func() {
				if err := l.Load(name); err != nil {
					t.Errorf("Load(%s) = %v", name, err)
				}
			})
		}
	}
	wg.Wait()
	if got := loaded(); len(got) != 2 {
		t.Errorf("loaded %q; want a and b once each", got)
	}
}
