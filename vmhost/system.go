package vmhost

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"casemate/policy"
	"casemate/vmhost/network"
	"casemate/vmhost/qemu"
	"casemate/vmhost/volume"
)

func nodeSystem(p Paths) system {
	launcher := qemu.NewLauncher()
	return system{
		launch: func(ctx context.Context, c qemu.Chamber, files []*os.File, cgroup *os.File, output *tail) (*qemu.Process, error) {
			return launcher.Start(ctx, c, files, cgroup, output)
		},
		adopt:   qemu.Adopt,
		cgroups: qemu.Cgroups(p.Cgroup),
		labels:  selinux{},
		media:   volume.NewMedia(p.Media),
		openTap: openTap,
		bridges: network.ListBridges,
		pid1:    1,
	}
}

func openTap(vm uint32, nic int, bridge, mac string) (*os.File, error) {
	name, err := network.TapName(vm, nic)
	if err != nil {
		return nil, err
	}
	hw, err := network.ParseMAC(mac)
	if err != nil {
		return nil, err
	}
	return network.OpenTap(network.Tap{Name: name, Bridge: bridge, MAC: hw})
}

// labels is what the manager needs of SELinux.
type labels interface {
	// make runs f, in which sockets get the first label and files the second.
	make(socket, file string, f func() error) error
	// process gives the label of a process.
	process(pid int) (string, error)
}

type selinux struct{}

// make runs f on a thread of its own, which ends with it: nothing else can ever
// get the labels. What f makes has its label from its first moment.
func (selinux) make(socket, file string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		for _, a := range []struct{ attr, label string }{{"sockcreate", socket}, {"fscreate", file}} {
			if err := policy.SetThread(a.attr, a.label); err != nil {
				done <- err
				return
			}
		}
		done <- f()
	}()
	return <-done
}

func (selinux) process(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/attr/current", pid))
	return strings.TrimRight(string(b), "\x00\n"), err
}

// listen makes a listening UNIX socket for QEMU to inherit. The socket carries
// processLabel, against which connecting is checked, and its file fileLabel.
func (m *Manager) listen(path, processLabel, fileLabel string) (*os.File, error) {
	var f *os.File
	err := m.sys.labels.make(processLabel, fileLabel, func() error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		f = os.NewFile(uintptr(fd), path)
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
			return &os.PathError{Op: "bind", Path: path, Err: err}
		}
		return os.NewSyscallError("listen", unix.Listen(fd, 8))
	})
	if err != nil {
		if f != nil {
			f.Close()
			os.Remove(path)
		}
		return nil, err
	}
	return f, nil
}
