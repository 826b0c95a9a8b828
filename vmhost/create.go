package vmhost

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"casemate/policy/mcs"
	"casemate/vmhost/api"
	"casemate/vmhost/network"
	"casemate/vmhost/qemu"
	"casemate/vmhost/spec"
)

// The VMs' own user ids, one each.
const (
	firstUID = 100_000
	lastUID  = 165_535
)

// List gives all VMs by name.
func (m *Manager) List(context.Context) ([]api.VM, error) {
	out := []api.VM{}
	for _, v := range m.all() {
		out = append(out, v.view())
	}
	slices.SortFunc(out, func(a, b api.VM) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// Get gives one VM.
func (m *Manager) Get(_ context.Context, name string) (api.VM, error) {
	v, err := m.find(name)
	if err != nil {
		return api.VM{}, err
	}
	return v.view(), nil
}

// Create defines a VM and gives it its pair, its uid and its MAC addresses,
// which it keeps until Delete. A document that is refused changes nothing. That
// volumes on NFS exist is seen at the start, when the server is asked.
func (m *Manager) Create(_ context.Context, doc spec.VM) (api.VM, error) {
	doc.SetDefaults()
	if err := doc.Validate(); err != nil {
		return api.VM{}, err
	}
	if err := m.checkOnNode(doc); err != nil {
		return api.VM{}, err
	}
	for i := range doc.NICs {
		if doc.NICs[i].MAC == "" {
			doc.NICs[i].MAC = network.MAC(doc.Name, i).String()
		}
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.vms[doc.Name]; ok {
		return api.VM{}, refuse(http.StatusConflict, "VM %s: the name is taken on this node: delete that VM first, or choose another name", doc.Name)
	}
	v := &vm{doc: doc, uuid: newUUID(), console: newConsole(), op: make(chan struct{}, 1), state: api.Shutoff}
	var err error
	if v.uid, err = m.freeUID(); err != nil {
		return api.VM{}, err
	}
	if v.pair, err = m.takePair(v.owner(), doc.Security); err != nil {
		return api.VM{}, err
	}
	if err := m.define(v); err != nil {
		m.pairs.Release(v.owner())
		return api.VM{}, err
	}
	m.vms[doc.Name] = v
	m.log.Info("VM defined", "vm", doc.Name, "level", v.pair.Level(), "uid", v.uid)
	return v.view(), nil
}

// define makes the VM's directory and record, both or none.
func (m *Manager) define(v *vm) error {
	// Nobody has this name, so what is there is left of a VM that was lost.
	if err := os.RemoveAll(m.dir(v)); err != nil {
		return err
	}
	if err := os.Mkdir(m.dir(v), 0o700); err != nil {
		return err
	}
	if err := m.save(v); err != nil {
		return errors.Join(err, os.RemoveAll(m.dir(v)))
	}
	return nil
}

// takePair gives a static VM the pair that its label names, any other one that
// nobody has.
func (m *Manager) takePair(owner string, s spec.Security) (mcs.Pair, error) {
	if s.Mode != spec.ModeStatic {
		pair, err := m.pairs.Allocate(owner)
		if err != nil {
			return mcs.Pair{}, refuse(http.StatusServiceUnavailable, "%v", err)
		}
		return pair, nil
	}
	pair, err := mcs.ParseLevel(s.Level())
	if err != nil {
		return mcs.Pair{}, refuse(http.StatusUnprocessableEntity, "security.label: %v", err)
	}
	if err := m.pairs.Reserve(owner, pair); err != nil {
		return mcs.Pair{}, refuse(http.StatusConflict, "security.label: %v", err)
	}
	return pair, nil
}

// freeUID finds the lowest uid that no VM has. With m.mu held.
func (m *Manager) freeUID() (uint32, error) {
	used := make(map[uint32]bool, len(m.vms))
	for _, v := range m.vms {
		used[v.uid] = true
	}
	for uid := uint32(firstUID); uid <= lastUID; uid++ {
		if !used[uid] {
			return uid, nil
		}
	}
	return 0, refuse(http.StatusServiceUnavailable, "all %d user ids for VMs are in use", lastUID-firstUID+1)
}

// checkOnNode checks what only the node knows: its media, bridges and memory.
func (m *Manager) checkOnNode(doc spec.VM) error {
	var problems spec.Problems
	add := func(path, format string, args ...any) {
		problems = append(problems, spec.Problem{Path: path, Message: fmt.Sprintf(format, args...)})
	}
	local := func(path, ref string) {
		name, ok := strings.CutPrefix(ref, "local/")
		if !ok {
			return
		}
		if fi, err := os.Lstat(filepath.Join(m.paths.Media, name)); err != nil || !fi.Mode().IsRegular() {
			add(path, "%s: this node has no such file; its media are %s", ref, m.mediaNames())
		}
	}
	cdroms := 0
	for i, d := range doc.Disks {
		local(fmt.Sprintf("disks[%d].volume", i), d.Volume)
		if d.Device == spec.DeviceCDROM {
			if cdroms++; cdroms > qemu.MaxCDROMs {
				add(fmt.Sprintf("disks[%d].device", i), "a VM has at most %d cdroms", qemu.MaxCDROMs)
			}
		}
	}
	if k := doc.Kernel; k != nil {
		local("kernel.image", k.Image)
		local("kernel.initrd", k.Initrd)
	}
	if len(doc.NICs) > 0 {
		bridges, err := m.sys.bridges()
		if err != nil {
			return fmt.Errorf("list bridges: %w", err)
		}
		for i, n := range doc.NICs {
			if !slices.Contains(bridges, n.Bridge) {
				add(fmt.Sprintf("nics[%d].bridge", i), "%s: this node has no such bridge; its bridges are %s", n.Bridge, enumerate(bridges))
			}
		}
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		if total := info.Totalram * uint64(info.Unit); uint64(doc.Memory) > total {
			add("memory", "%s is more than the node's %d MiB", doc.Memory, total>>20)
		}
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}

func (m *Manager) mediaNames() string {
	entries, _ := os.ReadDir(m.paths.Media) // none, if it can not be read
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return enumerate(names)
}

func enumerate(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// newUUID makes a random one (RFC 9562, version 4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Delete forgets a VM that does not run. Its volumes stay.
func (m *Manager) Delete(ctx context.Context, name string) error {
	v, err := m.find(name)
	if err != nil {
		return err
	}
	if err := v.begin(ctx, "delete"); err != nil {
		return err
	}
	defer v.end()
	// A run whose end could not be cleaned up still holds volumes, and a process
	// that may live keeps its pair and uid.
	if err := m.release(v); err != nil {
		return err
	}
	v.saving.Lock()
	defer v.saving.Unlock()
	if err := os.RemoveAll(m.dir(v)); err != nil {
		return err
	}
	v.mu.Lock()
	v.state = deleted
	v.mu.Unlock()
	m.mu.Lock()
	delete(m.vms, name)
	m.pairs.Release(v.owner()) // before a new VM of this name can ask for one
	m.mu.Unlock()
	m.log.Info("VM deleted", "vm", name, "level", v.pair.Level())
	return nil
}

// deleted is the state of a vm that is gone. Whoever waited for its turn with it
// is refused, as no operation is possible in this state.
const deleted api.State = "deleted"
