package vmhost

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"casemate/policy"
	"casemate/vmhost/qemu"
	"casemate/vmhost/spec"
	"casemate/vmhost/volume"
)

// chamberDevices are what a QEMU finds below /dev. KVM is not among them: it
// arrives as a descriptor.
var chamberDevices = []string{"null", "zero", "random", "urandom"}

const chamberNoFile = 16384 // a queue and an interrupt for each CPU and disk cost a descriptor each

// plan collects what one start needs: the machine, its chamber and the files to
// hand over. Making it takes volumes, taps and sockets; m.release and
// plan.close give all of it back.
type plan struct {
	m       *Manager
	v       *vm
	machine qemu.Machine
	chamber qemu.Chamber
	files   []*os.File
	dirs    []volume.Directory
	opened  int // descriptors that vmexec opens
}

func (m *Manager) newPlan(v *vm) *plan {
	d := v.doc
	return &plan{
		m: m, v: v,
		machine: qemu.Machine{
			Name: d.Name, UUID: v.uuid, CPUs: d.CPUs, Memory: uint64(d.Memory),
			TCG: v.tcg(), UEFI: d.Firmware == spec.FirmwareUEFI,
		},
		chamber: m.newChamber(v.uid, v.uid, v.processLabel()),
	}
}

// newChamber is what all chambers have in common.
func (m *Manager) newChamber(uid, gid uint32, label string) qemu.Chamber {
	return qemu.Chamber{
		Root: m.paths.Chamber, Context: policy.ChamberContext,
		Binds:   []qemu.Bind{{Source: m.paths.USR, Target: "/usr"}},
		Devices: chamberDevices,
		OpenAs:  volume.Identity{UID: m.node.Config.NFS.UID, GID: m.node.Config.NFS.GID},
		UID:     uid, GID: gid, NoFile: chamberNoFile, Label: label,
	}
}

// make takes everything that the VM needs, in the order in which a refusal is
// cheapest.
func (p *plan) make(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		p.accelerator, p.volumes, p.kernel, p.nics, p.firmware, p.sockets,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	p.chamber.Args = append([]string{qemu.SystemPath}, p.machine.Args()...)
	return nil
}

// close closes the manager's copies of what QEMU got. A tap is gone with its
// last one.
func (p *plan) close() {
	for _, f := range p.files {
		f.Close()
	}
	p.files = nil
}

// inherit hands f over and gives its number in the chamber.
func (p *plan) inherit(f *os.File) int {
	p.files = append(p.files, f)
	fd := qemu.FirstFD + len(p.files) - 1
	p.chamber.Inherit = append(p.chamber.Inherit, fd)
	return fd
}

// open gives the number for a file that vmexec will open.
func (p *plan) open() int {
	p.opened++
	return qemu.OpenedFD + p.opened - 1
}

func (p *plan) accelerator(context.Context) error {
	if p.machine.TCG {
		return nil
	}
	if _, err := os.Stat(p.m.paths.KVM); err != nil {
		return refuse(http.StatusUnprocessableEntity, "VM %s: accelerator kvm: this node has no %s: "+
			"enable virtualization (VT-x, SVM) in its firmware, or define the VM with accelerator: tcg, which is much slower",
			p.v.name(), p.m.paths.KVM)
	}
	p.machine.KVM = p.open()
	p.chamber.KVM = p.machine.KVM
	return nil
}

// volumes holds and describes the disks. Disks of one directory share a mount.
func (p *plan) volumes(ctx context.Context) error {
	index, _ := bootIndexes(p.v.doc)
	for i, d := range p.v.doc.Disks {
		disk := qemu.Disk{
			Format: d.Format, ReadOnly: d.Access == spec.AccessReadonly,
			CDROM: d.Device == spec.DeviceCDROM, BootIndex: index[i],
		}
		ref, err := volume.Parse(d.Volume)
		if err != nil {
			return refuse(http.StatusUnprocessableEntity, "VM %s: %v", p.v.name(), err)
		}
		if ref.Local() {
			f, err := p.m.takeMedia(p.v, ref.File)
			if err != nil {
				return err
			}
			disk.FDs, disk.Shared = []int{p.inherit(f)}, true
		} else if disk.FDs, err = p.nfs(ctx, ref, d.Format, disk.ReadOnly); err != nil {
			return err
		}
		p.machine.Disks = append(p.machine.Disks, disk)
	}
	return p.m.hold(p.v.owner(), p.dirs)
}

// nfs adds a file on a server to the chamber and gives its descriptors.
func (p *plan) nfs(ctx context.Context, ref volume.Ref, format string, readonly bool) ([]int, error) {
	dir, err := ref.Resolve(ctx)
	if err != nil {
		return nil, refuse(http.StatusServiceUnavailable, "VM %s: %v", p.v.name(), err)
	}
	i := slices.Index(p.dirs, dir)
	if i < 0 {
		i = len(p.dirs)
		p.dirs = append(p.dirs, dir)
		p.chamber.Volumes = append(p.chamber.Volumes, qemu.Volume{
			Directory: dir, Target: fmt.Sprintf("/volumes/%d", i), Context: p.v.imageLabel(), ReadOnly: true,
		})
	}
	v := &p.chamber.Volumes[i]
	file := qemu.VolumeFile{Name: ref.File, Format: format, RO: p.open()}
	fds := []int{file.RO}
	if !readonly {
		v.ReadOnly = false
		file.RW = p.open()
		fds = []int{file.RW, file.RO}
	}
	v.Files = append(v.Files, file)
	return fds, nil
}

func (p *plan) kernel(context.Context) error {
	k := p.v.doc.Kernel
	if k == nil {
		return nil
	}
	p.machine.Kernel, p.machine.Initrd, p.machine.Cmdline = true, k.Initrd != "", k.Cmdline
	for _, f := range []struct{ volume, target string }{{k.Image, qemu.KernelPath}, {k.Initrd, qemu.InitrdPath}} {
		if f.volume == "" {
			continue
		}
		name := strings.TrimPrefix(f.volume, "local/")
		open, err := p.m.takeMedia(p.v, name)
		if err != nil {
			return err
		}
		open.Close() // QEMU reads these by path
		p.chamber.Binds = append(p.chamber.Binds, qemu.Bind{Source: filepath.Join(p.m.paths.Media, name), Target: f.target})
	}
	return nil
}

// hold takes directories for an owner, or says who has them.
func (m *Manager) hold(owner string, dirs []volume.Directory) error {
	err := m.holders.Acquire(owner, dirs...)
	var held *volume.HeldError
	if errors.As(err, &held) {
		return refuse(http.StatusConflict, "%v", held)
	}
	return err
}

func (m *Manager) takeMedia(v *vm, name string) (*os.File, error) {
	f, err := m.sys.media.Acquire(v.owner(), name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, refuse(http.StatusUnprocessableEntity, "VM %s: local/%s: this node has no such file", v.name(), name)
	}
	if err != nil {
		return nil, fmt.Errorf("VM %s: local/%s: %w", v.name(), name, err)
	}
	return f, nil
}
