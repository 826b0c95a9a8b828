package vmhost

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strconv"

	"casemate/policy"
	"casemate/vmhost/api"
	"casemate/vmhost/qemu"
	"casemate/vmhost/spec"
	"casemate/vmhost/volume"
)

// CreateVolume makes a volume on NFS with qemu-img, which runs under a pair of
// its own, as the uid that the server knows, in a chamber. An existing file is
// never overwritten; one that could not be finished is removed.
func (m *Manager) CreateVolume(ctx context.Context, req api.VolumeRequest) (api.Volume, error) {
	if req.Format == "" {
		req.Format = spec.FormatQcow2
	}
	ref, err := checkVolumeRequest(req)
	if err != nil {
		return api.Volume{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, m.times.Volume)
	defer cancel()
	dir, err := ref.Resolve(ctx)
	if err != nil {
		return api.Volume{}, refuse(http.StatusServiceUnavailable, "%v", err)
	}
	// The owner is unique: of two at work in one directory the second is refused.
	owner := "creation " + strconv.FormatUint(m.creations.Add(1), 10) + " of volume " + ref.String()
	if err := m.hold(owner, []volume.Directory{dir}); err != nil {
		return api.Volume{}, err
	}
	defer m.holders.Release(owner)
	pair, err := m.takePair(owner, spec.Security{Mode: spec.ModeDynamic})
	if err != nil {
		return api.Volume{}, err
	}
	defer m.pairs.Release(owner)

	c := m.newChamber(m.node.Config.NFS.UID, m.node.Config.NFS.GID, policy.Process(policy.QemuImgType, pair.Level()))
	c.NoFile = 1024
	vol := qemu.Volume{
		Directory: dir, Target: "/volumes/0", Context: policy.Object(policy.ImageType, pair.Level()),
		MakeDirs: true, Create: ref.File,
	}
	c.Volumes = []qemu.Volume{vol}
	c.Args = []string{qemu.ImgPath, "create", "-q", "-f", req.Format, path.Join(vol.Target, ref.File),
		strconv.FormatUint(uint64(req.Size), 10)}
	made, err := m.runImg(ctx, ref.String(), c)
	if err != nil && made {
		m.removeVolume(ref, c)
	}
	if err != nil {
		return api.Volume{}, err
	}
	m.log.Info("volume made", "volume", ref.String(), "size", req.Size, "format", req.Format)
	return api.Volume{Volume: ref.String(), Size: req.Size, Format: req.Format}, nil
}

func checkVolumeRequest(req api.VolumeRequest) (volume.Ref, error) {
	ref, err := volume.Parse(req.Volume)
	switch {
	case err != nil:
		return ref, refuse(http.StatusUnprocessableEntity, "%v", err)
	case ref.Local():
		return ref, refuse(http.StatusUnprocessableEntity, "volume %s: only volumes on NFS can be made: nfs://host[:port]/export/dir/file", ref)
	case req.Size == 0:
		return ref, refuse(http.StatusUnprocessableEntity, "volume %s: size: want more than nothing, such as 10GiB", ref)
	case req.Format != spec.FormatQcow2 && req.Format != spec.FormatRaw:
		return ref, refuse(http.StatusUnprocessableEntity, "volume %s: format %q: want %s or %s", ref, req.Format, spec.FormatQcow2, spec.FormatRaw)
	}
	if of := spec.FormatOf(ref.File); of != "" && of != req.Format {
		return ref, refuse(http.StatusUnprocessableEntity, "volume %s: its name says %s, the request %s: VMs would read it wrongly", ref, of, req.Format)
	}
	return ref, nil
}

// runImg runs a chamber to its end. made says that the file is there and is
// ours: only then may it be removed.
func (m *Manager) runImg(ctx context.Context, name string, c qemu.Chamber) (made bool, err error) {
	group := "img-" + strconv.FormatUint(m.creations.Add(1), 10)
	cgroup, err := m.sys.cgroups.Create(group, qemu.ImgLimits())
	if err != nil {
		return false, fmt.Errorf("volume %s: cgroup: %w", name, err)
	}
	defer func() {
		cgroup.Close()
		ctx, cancel := context.WithTimeout(context.Background(), m.times.Quit)
		defer cancel()
		if rerr := m.sys.cgroups.Remove(ctx, group); rerr != nil {
			m.log.Error("remove cgroup", "cgroup", group, "error", rerr)
		}
	}()
	output := newTail(func(line string) { m.log.Warn("qemu-img says", "volume", name, "line", line) })
	proc, err := m.sys.launch(ctx, c, nil, cgroup, output)
	if err != nil {
		var f *qemu.Failure
		made := errors.As(err, &f) && f.Created
		return made, m.explain("volume "+name, err)
	}
	select {
	case <-proc.Done():
	case <-ctx.Done():
		proc.Kill()
		if err := m.awaitEnd(proc); err != nil {
			return true, err
		}
		return true, fmt.Errorf("volume %s: %w", name, ctx.Err())
	}
	if exit := proc.Exit(); !exit.OK() {
		// qemu-img fails with 1. Anything else may have been vmexec, before it made
		// the file: what is there could be somebody's.
		failed := exit.Known && exit.Signal == 0 && exit.Code == 1
		return failed, refuse(http.StatusUnprocessableEntity, "volume %s: qemu-img: %v: %s", name, exit, output.Last())
	}
	return true, nil
}

// removeVolume removes a file that CreateVolume has made and could not finish.
func (m *Manager) removeVolume(ref volume.Ref, c qemu.Chamber) {
	c.Args = nil
	c.Volumes[0].Create, c.Volumes[0].MakeDirs, c.Volumes[0].Remove = "", false, ref.File
	ctx, cancel := context.WithTimeout(context.Background(), m.times.Volume)
	defer cancel()
	if _, err := m.runImg(ctx, ref.String(), c); err != nil {
		m.log.Error("an unfinished volume could not be removed", "volume", ref.String(), "error", err)
	}
}
