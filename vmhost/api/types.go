// Package api is the node's HTTP API: its types, its server side over a
// Manager, and its Go client. It authenticates nobody: the gateway does that
// and passes the caller's name and role on.
package api

import (
	"context"
	"io"
	"time"

	"casemate/vmhost/spec"
)

// State is a VM's state, in libvirt's words (virDomainState).
type State string

// The states of a VM.
const (
	Shutoff  State = "shutoff"  // defined, no process
	Running  State = "running"  // QEMU runs, virtual CPUs run
	Paused   State = "paused"   // QEMU runs, virtual CPUs stopped
	Shutdown State = "shutdown" // asked to power down, still running
	Crashed  State = "crashed"  // QEMU ended without being asked; Reason says how
)

// VM is a virtual machine as the API shows it: the document with its defaults
// filled in, and what the node knows about it.
type VM struct {
	spec.VM
	Status VMStatus `json:"status"`
}

// VMStatus is the node's side of a VM.
type VMStatus struct {
	State State `json:"state"`
	// Reason explains the state when it was not asked for.
	Reason string `json:"reason,omitempty"`
	// Label is the SELinux context of the QEMU process, read from the kernel;
	// ImageLabel is that of its exclusive volumes. Both are empty when shutoff
	// except for the pair, which the VM keeps as long as it is defined.
	Label      string `json:"label,omitempty"`
	ImageLabel string `json:"imageLabel,omitempty"`
	// Level is the VM's own MCS level, such as "s0:c12,c733".
	Level       string     `json:"level"`
	PID         int        `json:"pid,omitempty"`
	UID         uint32     `json:"uid,omitempty"`
	Accelerator string     `json:"accelerator,omitempty"`
	StartedAt   *time.Time `json:"startedAt,omitempty"`
}

// VolumeRequest asks for a new volume.
type VolumeRequest struct {
	// Volume is nfs://host[:port]/export/dir/file. Missing directories below
	// the export are made.
	Volume string    `json:"volume"`
	Size   spec.Size `json:"size"`
	// Format is "qcow2" (default) or "raw".
	Format string `json:"format,omitempty"`
}

// Volume is a volume as qemu-img sees it.
type Volume struct {
	Volume string    `json:"volume"`
	Size   spec.Size `json:"size"`
	Format string    `json:"format"`
}

// Capabilities says what the node is, after libvirt's host capabilities.
type Capabilities struct {
	Node     string        `json:"node"`
	Version  string        `json:"version"`
	Kernel   string        `json:"kernel"`
	QEMU     string        `json:"qemu"`
	KVM      bool          `json:"kvm"`
	CPUs     int           `json:"cpus"`
	Memory   spec.Size     `json:"memory"`
	Uptime   float64       `json:"uptime"` // seconds
	Security SecurityModel `json:"security"`
}

// SecurityModel is the secmodel of the capabilities.
type SecurityModel struct {
	Model     string `json:"model"` // "selinux"
	DOI       string `json:"doi"`   // "0", as libvirt reports it
	Enforcing bool   `json:"enforcing"`
	Policy    Policy `json:"policy"`
	// BaseLabels by kind of guest: "kvm", "tcg".
	BaseLabels map[string]string `json:"baseLabels"`
}

// Policy names the policy that stage0 loaded: digest is "sha256:" and hex of
// the file, as in manifest.json.
type Policy struct {
	Version int    `json:"version"`
	Digest  string `json:"digest"`
}

// PowerAction is what the node shall do with itself.
type PowerAction string

// The power actions.
const (
	PowerOff PowerAction = "poweroff"
	Reboot   PowerAction = "reboot"
)

// Manager is what the API serves. vmhost implements it. Every error that a
// caller can do something about is an *Error.
type Manager interface {
	Capabilities(ctx context.Context) (Capabilities, error)
	List(ctx context.Context) ([]VM, error)
	Get(ctx context.Context, name string) (VM, error)
	Create(ctx context.Context, doc spec.VM) (VM, error)
	Delete(ctx context.Context, name string) error
	Start(ctx context.Context, name string) (VM, error)
	Shutdown(ctx context.Context, name string) (VM, error) // ACPI power button
	Stop(ctx context.Context, name string) (VM, error)     // at once
	Reset(ctx context.Context, name string) (VM, error)
	Pause(ctx context.Context, name string) (VM, error)
	Resume(ctx context.Context, name string) (VM, error)
	// Console attaches to the serial console: first what the ring buffer still
	// has, then what comes. Closing it detaches.
	Console(ctx context.Context, name string) (io.ReadWriteCloser, error)
	CreateVolume(ctx context.Context, req VolumeRequest) (Volume, error)
	// Logs copies the node's log to w, and goes on until ctx ends if follow.
	Logs(ctx context.Context, w io.Writer, follow bool) error
	Power(ctx context.Context, action PowerAction) error
}

// Error is a refusal that becomes an RFC 9457 problem document.
type Error struct {
	Status int    // HTTP status
	Detail string // what was refused and why, and the way out
}

func (e *Error) Error() string { return e.Detail }
