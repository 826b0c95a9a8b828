// Package vmhost is the VM manager: it keeps the VMs of a node, gives each its
// label, its volumes, its network and its limits, starts QEMU through vmexec,
// and takes everything back when a VM ends. It implements api.Manager.
//
// It is not the VMs' life-line: when it dies they run on, and the next one
// adopts them. How QEMU is called and shut in is package qemu's; what a label
// means is the policy's; who may ask for what is the API's.
package vmhost

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"casemate/policy/mcs"
	"casemate/vmhost/api"
	"casemate/vmhost/qemu"
	"casemate/vmhost/spec"
	"casemate/vmhost/volume"
)

// Paths are the node's places that the manager uses.
type Paths struct {
	VMs     string // a directory for each VM: record, sockets
	Chamber string // empty directory, root of every VM's own mount namespace
	Media   string // read-only files, local/NAME
	Log     string // the node's log
	Cgroup  string // cgroup v2 directory for the VMs
	USR     string // what a chamber has as /usr
	KVM     string // the device
	Enforce string // selinuxfs: 1 means enforcing
	Release string // versions of the image's parts; may be missing
}

// NodePaths are the paths on a node.
var NodePaths = Paths{
	VMs:     "/run/casemate/vms",
	Chamber: "/run/casemate/chamber",
	Media:   "/var/lib/casemate/media",
	Log:     "/run/casemate/log/node.log",
	Cgroup:  "/sys/fs/cgroup/casemate",
	USR:     "/usr",
	KVM:     "/dev/kvm",
	Enforce: "/sys/fs/selinux/enforce",
	Release: "/etc/casemate/release.json",
}

// Times bound what the manager waits for.
type Times struct {
	Start  time.Duration // QEMU ready under its label; TCG is slow
	QMP    time.Duration // one QMP command
	Quit   time.Duration // QEMU ends after it was told to
	Volume time.Duration // qemu-img
}

var nodeTimes = Times{Start: time.Minute, QMP: 10 * time.Second, Quit: 5 * time.Second, Volume: 2 * time.Minute}

// Manager keeps the VMs of one node. Safe for concurrent use.
type Manager struct {
	node  spec.NodeInfo
	paths Paths
	times Times
	sys   system
	log   *slog.Logger

	pairs   *mcs.Allocator
	holders *volume.Holders

	mu  sync.Mutex // guards the map only; never held while waiting
	vms map[string]*vm

	creations atomic.Uint64 // of volumes, to tell them apart

	qemuMu      sync.Mutex
	qemuVersion string // as the last QEMU said
}

var _ api.Manager = (*Manager)(nil)

// system is what the manager asks of the node's kernel, as one seam: the tests
// of its logic run as any user on a machine without SELinux.
type system struct {
	launch  func(ctx context.Context, c qemu.Chamber, files []*os.File, cgroup *os.File, output *tail) (*qemu.Process, error)
	adopt   func(pid int, start uint64) (*qemu.Process, error)
	cgroups cgroups
	labels  labels
	media   media
	openTap func(vm uint32, nic int, bridge, mac string) (*os.File, error)
	bridges func() ([]string, error)
	pid1    int // who gets the power signals
}

type cgroups interface {
	Create(name string, limits []qemu.Limit) (*os.File, error)
	Remove(ctx context.Context, name string) error
	List() ([]string, error)
}

type media interface {
	Acquire(owner, name string) (*os.File, error)
	Release(owner string) error
	Sweep() error
}

// New makes the manager of this node. It has no VMs until Adopt.
func New(node spec.NodeInfo, log *slog.Logger) *Manager {
	return newManager(node, NodePaths, nodeTimes, nodeSystem(NodePaths), log)
}

func newManager(node spec.NodeInfo, paths Paths, times Times, sys system, log *slog.Logger) *Manager {
	return &Manager{
		node: node, paths: paths, times: times, sys: sys, log: log,
		pairs: mcs.New(), holders: volume.NewHolders(), vms: map[string]*vm{},
	}
}

// refuse makes an error that says to the caller what to do about it.
func refuse(status int, format string, args ...any) error {
	return &api.Error{Status: status, Detail: fmt.Sprintf(format, args...)}
}

func (m *Manager) find(name string) (*vm, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := m.vms[name]; ok {
		return v, nil
	}
	return nil, refuse(http.StatusNotFound, "VM %s: there is none of this name on this node", name)
}

// all gives the VMs in no order.
func (m *Manager) all() []*vm {
	m.mu.Lock()
	defer m.mu.Unlock()
	vms := make([]*vm, 0, len(m.vms))
	for _, v := range m.vms {
		vms = append(vms, v)
	}
	return vms
}
