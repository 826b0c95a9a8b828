package boot

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// uevent is what the kernel says when a device comes or goes.
type uevent struct {
	action    string // add, remove, change, bind, ...
	devname   string // node below /dev, such as input/event0; empty: none
	subsystem string
	modalias  string
}

// parseUevent reads "ACTION@DEVPATH\0KEY=VALUE\0...".
func parseUevent(b []byte) (uevent, error) {
	header, rest, ok := bytes.Cut(b, []byte{0})
	if !ok || !bytes.Contains(header, []byte("@")) {
		return uevent{}, fmt.Errorf("uevent: no ACTION@DEVPATH in %q", header)
	}
	var e uevent
	for field := range bytes.SplitSeq(rest, []byte{0}) {
		key, value, _ := strings.Cut(string(field), "=")
		switch key {
		case "ACTION":
			e.action = value
		case "DEVNAME":
			e.devname = value
		case "SUBSYSTEM":
			e.subsystem = value
		case "MODALIAS":
			e.modalias = value
		}
	}
	if strings.Contains("/"+e.devname+"/", "/../") {
		return uevent{}, fmt.Errorf("uevent: device name %q", e.devname)
	}
	return e, nil
}

// multicast opens a netlink socket that listens to the group's messages. The
// buffer is large: what does not fit is lost.
func multicast(protocol int, group uint32) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return -1, fmt.Errorf("netlink socket %d: %w", protocol, err)
	}
	const buffer = 4 << 20
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("netlink socket %d: set receive buffer: %w", protocol, err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (group - 1)}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("netlink socket %d: join group %d: %w", protocol, group, err)
	}
	return fd, nil
}

// receive calls f for each of the kernel's messages, for ever.
func receive(fd int, f func([]byte), lost func(error)) {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			lost(err)
			if errors.Is(err, unix.ENOBUFS) {
				continue // some were lost, more will come
			}
			return
		}
		// Anybody with the right to may send to the group: only the kernel is believed.
		if nl, ok := from.(*unix.SockaddrNetlink); ok && nl.Pid == 0 {
			f(buf[:n])
		}
	}
}
