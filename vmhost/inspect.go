package vmhost

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"casemate/policy"
	"casemate/vmhost/api"
)

var _ api.Inspector = (*Manager)(nil)

// Inspect reads labels from the kernel, for every process of the node and for
// what belongs to its VMs. A process that ends meanwhile is left out.
func (m *Manager) Inspect(ctx context.Context) (api.Inspection, error) {
	out := api.Inspection{Processes: []api.Process{}, Mounts: []api.Mount{}, Sockets: []api.Socket{}}
	names := map[int]string{}
	for _, v := range m.all() {
		r, _, err := v.current()
		if err != nil {
			continue // does not run
		}
		names[r.proc.PID] = v.name()
		mounts, err := nfsMounts(v.name(), r.proc.PID)
		if err != nil {
			return out, err
		}
		out.Mounts = append(out.Mounts, mounts...)
		sockets, err := vmSockets(v.name(), m.dir(v), r.proc.PID)
		if err != nil {
			return out, err
		}
		out.Sockets = append(out.Sockets, sockets...)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return out, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		p, err := readProcess(pid)
		if err != nil {
			continue
		}
		p.VM = names[pid]
		out.Processes = append(out.Processes, p)
	}
	return out, ctx.Err()
}

// Access passes a question on to the kernel.
func (m *Manager) Access(_ context.Context, q api.AccessQuery) (api.Access, error) {
	allowed, err := policy.Query(q.Source, q.Target, q.Class)
	if err != nil {
		return api.Access{}, refuse(http.StatusUnprocessableEntity, "%v", err)
	}
	return api.Access{AccessQuery: q, Allowed: allowed}, nil
}

// readProcess reads /proc/PID. Fields of stat: proc_pid_stat(5).
func readProcess(pid int) (api.Process, error) {
	const kthread = 0x00200000 // PF_KTHREAD, include/linux/sched.h
	dir := fmt.Sprintf("/proc/%d", pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return api.Process{}, err
	}
	open, end := strings.IndexByte(string(stat), '('), strings.LastIndexByte(string(stat), ')')
	if open < 0 || end < open {
		return api.Process{}, fmt.Errorf("%s/stat: %q", dir, stat)
	}
	fields := strings.Fields(string(stat[end+1:]))
	if len(fields) < 7 {
		return api.Process{}, fmt.Errorf("%s/stat: %q", dir, stat)
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	if err != nil {
		return api.Process{}, err
	}
	ppid, err := strconv.Atoi(fields[1])
	if err != nil {
		return api.Process{}, err
	}
	current, err := os.ReadFile(dir + "/attr/current")
	if err != nil {
		return api.Process{}, err
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return api.Process{}, err
	}
	return api.Process{
		PID: pid, PPID: ppid, Comm: string(stat[open+1 : end]), Kernel: flags&kthread != 0,
		UID: st.Uid, Label: strings.TrimRight(string(current), "\x00\n"),
	}, nil
}

// nfsMounts gives the NFS mounts in a process's mount namespace.
func nfsMounts(vm string, pid int) ([]api.Mount, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		return nil, err
	}
	mounts := []api.Mount{}
	for line := range strings.Lines(string(b)) {
		// proc_pid_mountinfo(5): … root target options … - fstype source super-options
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 || !strings.HasPrefix(right[0], "nfs") {
			continue
		}
		label, err := policy.FileLabel(filepath.Join(fmt.Sprintf("/proc/%d/root", pid), left[4]))
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, api.Mount{
			VM: vm, Target: left[4], FSType: right[0], Source: right[1], Options: right[2], Label: label,
		})
	}
	return mounts, nil
}

func vmSockets(vm, dir string, pid int) ([]api.Socket, error) {
	sockets := []api.Socket{}
	for _, s := range []struct{ kind, file string }{{"qmp", qmpSocket}, {"console", consoleSocket}} {
		path := filepath.Join(dir, s.file)
		label, err := policy.FileLabel(path)
		if err != nil {
			return nil, err
		}
		peer, err := listenerLabel(pid, path)
		if err != nil {
			return nil, err
		}
		sockets = append(sockets, api.Socket{VM: vm, Path: path, Kind: s.kind, Label: label, Peer: peer})
	}
	return sockets, nil
}

// listenerLabel reads the label of the socket that QEMU listens on at path: what
// connecting to it is checked against. vmhostd bound it in the node's network
// namespace, so /proc/net/unix has its inode, by which QEMU's descriptor is found.
func listenerLabel(pid int, path string) (string, error) {
	table, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return "", err
	}
	inode := listenerInode(string(table), path)
	if inode == "" {
		return "", fmt.Errorf("socket %s: nobody listens", path)
	}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, fd := range fds {
		name := filepath.Join(dir, fd.Name())
		if target, err := os.Readlink(name); err == nil && target == "socket:["+inode+"]" {
			var b [256]byte
			n, err := unix.Getxattr(name, "security.selinux", b[:]) // through the link, to the socket
			if err != nil {
				return "", &os.PathError{Op: "read label of", Path: name, Err: err}
			}
			return strings.TrimRight(string(b[:n]), "\x00"), nil
		}
	}
	return "", fmt.Errorf("socket %s: process %d does not have it", path, pid)
}

// listenerInode finds a listening socket in the text of /proc/net/unix, whose
// lines are "Num RefCount Protocol Flags Type St Inode Path" (net/unix/af_unix.c).
func listenerInode(table, path string) string {
	const acceptCon = "00010000" // __SO_ACCEPTCON
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) == 8 && f[3] == acceptCon && f[7] == path {
			return f[6]
		}
	}
	return ""
}
