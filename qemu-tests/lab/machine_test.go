package lab

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func testTools(t *testing.T) Tools {
	t.Helper()
	if os.Getenv("CASEMATE_OUT") == "" {
		t.Skip("CASEMATE_OUT does not name the output of `make image`")
	}
	tools, err := OpenTools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tools
}

// The guest alone, without a node around it: what it says and does is the
// ground that the tests of the node stand on.
func TestGuest(t *testing.T) {
	tools := testTools(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	g, err := BuildGuest(ctx, tools, dir)
	if err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(dir, "disk.raw")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := Start(ctx, Config{
		Name: "guest", Tools: tools, Dir: dir, Memory: 512,
		Kernel: g.Kernel, Initrd: g.Initrd, Append: g.Cmdline("a"),
		Args: []string{"-drive", "file=" + disk + ",format=raw,if=virtio"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Stop()
		if t.Failed() {
			t.Log(m.Report())
		}
	})
	expect := func(re string) {
		t.Helper()
		if _, err := m.Console.Expect(ctx, re); err != nil {
			t.Fatal(err)
		}
	}
	expect(`^guest a ready cpu="AMD EPYC.*" kvm=false$`)
	t.Logf("ready after %v", m.Console.Elapsed())
	for _, c := range []struct{ typed, want string }{
		{"write /dev/vda 4096 hello world", `^guest a write ok 11 bytes at 4096$`},
		{"read /dev/vda 4096 512", `^guest a read ok "hello world"$`},
		{"size /dev/vda", `^guest a size ok 1048576$`},
		{"read /dev/vdb 0 1", `^guest a read error open /dev/vdb: no such file or directory$`},
		{"dhcp eth0", `^guest a dhcp ok address=10\.0\.2\.15 server=10\.0\.2\.2$`},
		{"bogus", `^guest a bogus error unknown command`},
	} {
		if err := m.Type(c.typed + "\n"); err != nil {
			t.Fatal(err)
		}
		expect(c.want)
	}
	if err := m.PowerButton(); err != nil {
		t.Fatal(err)
	}
	expect(`^guest a powering off$`)
	if err := m.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(disk); string(b[4096:4107]) != "hello world" {
		t.Errorf("disk has %q at 4096; want hello world", b[4096:4107])
	}
}

// A PXE boot of the guest: firmware, iPXE ROM, DHCP, TFTP, and a forwarded port.
func TestPXE(t *testing.T) {
	tools := testTools(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	_, err := BuildGuest(ctx, tools, dir)
	if err != nil {
		t.Fatal(err)
	}
	script := "#!ipxe\nkernel guest-vmlinuz initrd=guest-initramfs.img console=ttyS0 guest.name=p\ninitrd guest-initramfs.img\nboot\n"
	if err := os.WriteFile(filepath.Join(dir, "boot.ipxe"), []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := Start(ctx, Config{Name: "pxe", Tools: tools, Dir: dir, Memory: 1024, PXE: dir, Forward: []int{APIPort}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Stop()
		if t.Failed() {
			t.Log(m.Report())
		}
	})
	if m.ports[APIPort] == 0 {
		t.Errorf("no host port is forwarded to %d: %v", APIPort, m.ports)
	}
	if _, err := m.Console.Expect(ctx, `^guest p ready`); err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %v", m.Console.Elapsed())
}

func TestNFSServer(t *testing.T) {
	tools := testTools(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := StartNFS(ctx, tools, t.TempDir(), "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	t.Logf("port %d after %v", s.Port, s.Console.Elapsed())
}
