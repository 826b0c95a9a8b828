package volume

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"casemate/policy"
)

// seContext is a security context that may stand in mount data: user, role,
// type and s0 with at most two categories. Nothing in it ends a quoted string.
var seContext = regexp.MustCompile(`^[A-Za-z0-9_]+:[A-Za-z0-9_]+:[A-Za-z0-9_]+:s0(:c[0-9]{1,4}(,c[0-9]{1,4})?)?$`)

// NFSData gives the data of mount(2) for a directory on server, as mount.nfs
// would: the kernel resolves nothing, so it needs both addresses.
//
// The mount is hard: a guest waits for a server that reboots, where soft would
// give it I/O errors. Waiting on NFS ends with SIGKILL, so a VM can always be
// stopped. context is quoted because of the comma between its categories.
func NFSData(server netip.AddrPort, client netip.Addr, context string) (string, error) {
	if !seContext.MatchString(context) {
		return "", fmt.Errorf("NFS mount: %q is no security context of a volume", context)
	}
	proto := "tcp"
	if server.Addr().Is6() {
		proto = "tcp6"
	}
	if !server.IsValid() || !client.IsValid() || server.Addr().Is6() != client.Is6() {
		return "", fmt.Errorf("NFS mount: server %s and client %s are not addresses of one kind", server, client)
	}
	if server.Addr().Zone() != "" || client.Zone() != "" {
		return "", fmt.Errorf("NFS mount: server %s, client %s: link-local addresses are not supported", server, client)
	}
	label, err := policy.MountOption(context)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(`vers=4.2,port=%d,proto=%s,sec=sys,hard,addr=%s,clientaddr=%s,%s`,
		server.Port(), proto, server.Addr(), client, label), nil
}

// MountNFS mounts d on target with every file in it labelled context, then reads
// the label back. A mount that differs in anything that matters is undone and
// refused: the kernel may have shared the superblock of another mount.
//
// The caller is in the host's network namespace, which the mount keeps using.
// ctx bounds the question whether the server answers; mount(2) after it is
// ended only by killing the process, so call this from one that may be killed.
// A directory that does not exist is an error that wraps fs.ErrNotExist.
func MountNFS(ctx context.Context, d Directory, target, context string, readonly bool) error {
	if err := d.check(); err != nil {
		return err
	}
	client, err := Probe(ctx, d.Addr)
	if err != nil {
		return fmt.Errorf("mount %s: %w", d, err)
	}
	data, err := NFSData(d.Addr, client, context)
	if err != nil {
		return err
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if readonly {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount(d.source(), target, "nfs", flags, data); err != nil {
		return fmt.Errorf("mount %s on %s: %w%s", d, target, err, mountHint(err))
	}
	if err := verifyMount(d, target, context); err != nil {
		if uerr := unix.Unmount(target, unix.MNT_DETACH); uerr != nil {
			err = fmt.Errorf("%w; unmount %s: %w", err, target, uerr)
		}
		return fmt.Errorf("refuse volume directory %s: %w", d, err)
	}
	return nil
}

// source is mount(2)'s first argument.
func (d Directory) source() string {
	server := d.Server
	if strings.Contains(server, ":") {
		server = "[" + server + "]"
	}
	return server + ":" + d.Path
}

// mountHint says what usually is behind an error of mount(2).
func mountHint(err error) string {
	switch err {
	case unix.ENOENT:
		return " (the server has no such directory)"
	case unix.EACCES, unix.EPERM:
		return " (the server does not export it to this node, or SELinux denied it: see the node's log)"
	case unix.EPROTONOSUPPORT:
		return " (the server has no NFSv4.2)"
	case unix.ENODEV:
		return " (the kernel has no nfs module loaded)"
	case unix.EINVAL:
		return " (mount data refused: the label must exist in the loaded policy)"
	}
	return ""
}
