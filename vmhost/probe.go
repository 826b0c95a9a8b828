package vmhost

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"casemate/vmhost/api"
	"casemate/vmhost/qmp"
	"casemate/vmhost/volume"
)

// Probe offers VM name a descriptor of the first NFS disk of another VM, by
// QMP's add-fd, as a helper of a broken-out guest would. The kernel checks a
// descriptor when it is received (selinux_file_receive) and drops it when the
// receiver's label may not use the file; QEMU then says that none came.
func (m *Manager) Probe(ctx context.Context, name string, req api.ProbeRequest) (api.Probe, error) {
	v, err := m.find(name)
	if err != nil {
		return api.Probe{}, err
	}
	to, mon, err := v.current()
	if err != nil {
		return api.Probe{}, err
	}
	if mon == nil {
		return api.Probe{}, refuse(http.StatusServiceUnavailable, "VM %s: its QMP connection is being made again; try once more", name)
	}
	of, err := m.find(req.DiskOf)
	if err != nil {
		return api.Probe{}, err
	}
	from, _, err := of.current()
	if err != nil {
		return api.Probe{}, err
	}
	disk, err := m.openDisk(of, from.proc.PID)
	if err != nil {
		return api.Probe{}, err
	}
	defer disk.Close()
	out := api.Probe{Label: to.label}
	if out.Object, err = descriptorLabel(disk); err != nil {
		return out, err
	}

	ctx, cancel := context.WithTimeout(ctx, m.times.QMP)
	defer cancel()
	var added struct {
		Set int `json:"fdset-id"`
		FD  int `json:"fd"`
	}
	err = mon.ExecuteFile(ctx, "add-fd", map[string]any{"opaque": "probe"}, disk, &added)
	var refused *qmp.Error
	if errors.As(err, &refused) {
		out.Answer = refused.Desc
		return out, nil
	}
	if err != nil {
		return out, err
	}
	out.Accepted, out.Answer = true, fmt.Sprintf("descriptor %d in set %d", added.FD, added.Set)
	return out, mon.Execute(ctx, "remove-fd", map[string]any{"fdset-id": added.Set}, nil)
}

// openDisk opens the first NFS disk of a running VM for reading, through that
// VM's own mount: so it carries that VM's label.
func (m *Manager) openDisk(v *vm, pid int) (*os.File, error) {
	mounts, err := nfsMounts(v.name(), pid)
	if err != nil {
		return nil, err
	}
	id := volume.Identity{UID: m.node.Config.NFS.UID, GID: m.node.Config.NFS.GID}
	for _, d := range v.doc.Disks {
		ref, err := volume.Parse(d.Volume)
		if err != nil || ref.Local() {
			continue
		}
		for _, mount := range mounts {
			if !strings.HasSuffix(mount.Source, ":"+ref.Dir) {
				continue
			}
			files, err := volume.Open(filepath.Join(fmt.Sprintf("/proc/%d/root", pid), mount.Target), ref.File, id, true)
			if err != nil {
				return nil, err
			}
			return files.ReadOnly, nil
		}
	}
	return nil, refuse(http.StatusConflict, "VM %s has no NFS disk mounted", v.name())
}

func descriptorLabel(f *os.File) (string, error) {
	var b [256]byte
	n, err := unix.Fgetxattr(int(f.Fd()), "security.selinux", b[:])
	if err != nil {
		return "", &os.PathError{Op: "read label of", Path: f.Name(), Err: err}
	}
	return strings.TrimRight(string(b[:n]), "\x00"), nil
}
