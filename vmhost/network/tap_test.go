package network

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inNamespace runs the test that calls it again, in a user and a network
// namespace of its own, and returns false where nothing is left to do. It needs no
// root.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv("CASEMATE_TEST_NETNS") == "1" {
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), "CASEMATE_TEST_NETNS=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EINVAL):
		t.Skipf("no user and network namespaces here: %v", err)
	case err != nil:
		t.Fatalf("in a namespace: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if _, why, ok := strings.Cut(line, "SKIP because "); ok {
			t.Skip(strings.TrimSpace(why))
		}
	}
	return false
}

// makeBridge makes a bridge of the given MTU, which has no address of its own.
func makeBridge(t *testing.T, name string, mtu int) {
	t.Helper()
	b := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: mtu}}
	if err := netlink.LinkAdd(b); errors.Is(err, unix.EOPNOTSUPP) {
		t.Skipf("SKIP because the kernel has no bridges: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
}

func TestOpenTap(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	if names, err := ListBridges(); err != nil || len(names) != 0 {
		t.Errorf("ListBridges() = %v, %v; want none", names, err)
	}
	_, err := OpenTap(Tap{Name: "cm1n0", Bridge: "lan", MAC: MAC("web-1", 0)})
	if err == nil || !strings.Contains(err.Error(), `no bridge "lan"`) || !strings.Contains(err.Error(), "has none") {
		t.Errorf("OpenTap without a bridge = %v", err)
	}
	makeBridge(t, "lan", 1400)
	makeBridge(t, "dmz", 1500)
	if names, err := ListBridges(); err != nil || !slices.Equal(names, []string{"dmz", "lan"}) {
		t.Errorf("ListBridges() = %v, %v; want dmz, lan", names, err)
	}
	for _, bridge := range []string{"lo", "wan", ""} {
		_, err := OpenTap(Tap{Name: "cm1n0", Bridge: bridge, MAC: MAC("web-1", 0)})
		if err == nil || !strings.Contains(err.Error(), "there are dmz, lan") {
			t.Errorf("OpenTap(bridge %q) = %v; want the names of those there are", bridge, err)
		}
	}

	file, err := OpenTap(Tap{Name: "cm1n0", Bridge: "lan", MAC: MAC("web-1", 0)})
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		if _, oerr := os.OpenFile(device, os.O_RDWR, 0); oerr != nil {
			t.Skipf("SKIP because of the tap device: %v", oerr)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName("cm1n0")
	if err != nil {
		t.Fatal(err)
	}
	lan, err := netlink.LinkByName("lan")
	if err != nil {
		t.Fatal(err)
	}
	a := link.Attrs()
	if a.MasterIndex != lan.Attrs().Index || a.MTU != 1400 || a.Flags&net.FlagUp == 0 {
		t.Errorf("tap: master %d, MTU %d, flags %s; want %d, 1400, up", a.MasterIndex, a.MTU, a.Flags, lan.Attrs().Index)
	}
	if want := "fe" + MAC("web-1", 0).String()[2:]; a.HardwareAddr.String() != want {
		t.Errorf("tap's address = %s; want %s", a.HardwareAddr, want)
	}
	tun, ok := link.(*netlink.Tuntap)
	if !ok || tun.Mode != netlink.TUNTAP_MODE_TAP || tun.NonPersist != true {
		t.Errorf("link = %+v; want a tap that is not persistent", link)
	}
	if addrs, err := netlink.AddrList(link, netlink.FAMILY_V6); err != nil || len(addrs) != 0 {
		t.Errorf("IPv6 addresses of the tap = %v, %v; want none", addrs, err)
	}
	ifr, _ := unix.NewIfreq("")
	if err := unix.IoctlIfreq(int(file.Fd()), unix.TUNGETIFF, ifr); err != nil {
		t.Fatal(err)
	}
	const want = unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR
	if got := ifr.Uint16(); got&(want|unix.IFF_PERSIST|unix.IFF_MULTI_QUEUE) != want {
		t.Errorf("tap's flags = %#x; want %#x", got, want)
	}
	if _, err := OpenTap(Tap{Name: "cm1n0", Bridge: "lan", MAC: MAC("web-1", 0)}); !errors.Is(err, unix.EBUSY) {
		t.Errorf("OpenTap twice = %v; want %v", err, unix.EBUSY)
	}
	if _, err := OpenTap(Tap{Name: "cm2n0", Bridge: "lan"}); err == nil || exists("cm2n0") {
		t.Errorf("OpenTap without MAC address = %v, left behind: %v", err, exists("cm2n0"))
	}

	file.Close()
	for range 100 { // the kernel removes it on its own time
		if !exists("cm1n0") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("tap exists after its last descriptor is closed")
}

func exists(link string) bool {
	_, err := netlink.LinkByName(link)
	return err == nil
}

func TestOpenTunRefuses(t *testing.T) {
	for _, name := range []string{"", "cm%d", "a/b", "cm4294967295n100"} {
		if file, err := openTun(name); err == nil {
			t.Errorf("openTun(%q) = %s; want an error", name, file.Name())
		}
	}
}
