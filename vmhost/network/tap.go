// Package network gives VMs their network cards' host side: taps on bridges that
// the node's init has made, and MAC addresses. It makes no bridges, routes or
// filters.
//
// Ports of a bridge reach one another (port isolation is off): VMs on one bridge
// are on one network, as on a switch. VMs that must not meet get bridges of
// their own.
package network

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// device makes taps.
const device = "/dev/net/tun"

// nameMax is IFNAMSIZ without its NUL.
const nameMax = unix.IFNAMSIZ - 1

// Tap is one tap to be made.
type Tap struct {
	Name   string // see TapName
	Bridge string // of which the tap becomes a port
	// MAC is the guest's. The tap itself gets it with fe as first byte, as
	// libvirt does: a bridge without an address of its own takes the least of
	// its ports', and must not change it when a VM starts.
	MAC net.HardwareAddr
}

// OpenTap makes the tap, makes it a port of the bridge, sets it up and returns
// its descriptor, which has IFF_VNET_HDR for virtio and is close-on-exec. QEMU
// gets it as -netdev tap,fd=N. The tap is not persistent: it disappears when the
// last descriptor is closed, which is QEMU's once the caller has closed its own.
func OpenTap(t Tap) (*os.File, error) {
	bridge, err := findBridge(t.Bridge)
	if err != nil {
		return nil, fmt.Errorf("tap %s: %w", t.Name, err)
	}
	file, err := openTun(t.Name)
	if err != nil {
		return nil, err
	}
	if err := attach(t, bridge); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// TapName gives cm<vm>n<nic>: vm is a number that no other VM on the node has.
func TapName(vm uint32, nic int) (string, error) {
	name := fmt.Sprintf("cm%dn%d", vm, nic)
	if nic < 0 || len(name) > nameMax {
		return "", fmt.Errorf("tap of VM number %d, NIC %d: name %s is not one of at most %d bytes", vm, nic, name, nameMax)
	}
	return name, nil
}

// openTun opens a tap that does not exist yet.
func openTun(name string) (*os.File, error) {
	if name == "" || len(name) > nameMax || strings.ContainsAny(name, "%/") {
		return nil, fmt.Errorf("tap %q: no interface name of at most %d bytes", name, nameMax)
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return nil, fmt.Errorf("tap %q: %w", name, err)
	}
	// O_NONBLOCK is what QEMU sets anyway.
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("tap %s: %w", name, &os.PathError{Op: "open", Path: device, Err: err})
	}
	// Without IFF_TUN_EXCL a persistent tap of this name would be taken over.
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_TUN_EXCL)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		unix.Close(fd)
		if err == unix.EBUSY || err == unix.EEXIST {
			return nil, fmt.Errorf("tap %s exists: another VM has it: %w", name, err)
		}
		return nil, fmt.Errorf("make tap %s (TUNSETIFF): %w", name, err)
	}
	return os.NewFile(uintptr(fd), device+":"+name), nil
}

// attach sets the tap's properties, the last of them up.
func attach(t Tap, bridge netlink.Link) error {
	link, err := netlink.LinkByName(t.Name)
	if err != nil {
		return fmt.Errorf("tap %s: find link: %w", t.Name, err)
	}
	if len(t.MAC) != 6 {
		return fmt.Errorf("tap %s: guest's MAC address %q is not of 6 bytes", t.Name, t.MAC)
	}
	mac := slices.Clone(t.MAC)
	mac[0] = 0xfe
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"set MAC address " + mac.String(), func() error { return netlink.LinkSetHardwareAddr(link, mac) }},
		// A bridge's MTU follows the least of its ports'.
		{fmt.Sprintf("set MTU %d", bridge.Attrs().MTU), func() error { return netlink.LinkSetMTU(link, bridge.Attrs().MTU) }},
		{"turn IPv6 addresses off", func() error { return noIPv6(link) }},
		{"add to bridge " + t.Bridge, func() error { return netlink.LinkSetMaster(link, bridge) }},
		{"set up", func() error { return netlink.LinkSetUp(link) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("tap %s: %s: %w", t.Name, step.what, err)
		}
	}
	return nil
}

// noIPv6 keeps the node from having a link-local address on the tap, thus from
// answering the guest there.
func noIPv6(link netlink.Link) error {
	const addrGenModeNone = 1 // IN6_ADDR_GEN_MODE_NONE of linux/if_link.h
	err := netlink.LinkSetIP6AddrGenMode(link, addrGenModeNone)
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		if _, serr := os.Stat("/proc/net/if_inet6"); errors.Is(serr, os.ErrNotExist) {
			return nil // a kernel without IPv6
		}
	}
	return err
}
