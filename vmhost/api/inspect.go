package api

import (
	"context"
	"net/http"
	"net/url"

	"casemate/vmhost/spec"

	"github.com/danielgtaylor/huma/v2"
)

// Inspector is the node looking at itself: reads and one self-test that show the
// isolation rather than claim it. Nothing here changes a VM, a label or a file.
// All of it is for admins (roleOf: inspect-node, query-access, probe-vm).
type Inspector interface {
	// Inspect lists processes, the mounts of VMs and their sockets.
	Inspect(ctx context.Context) (Inspection, error)
	// Access asks the running kernel what source may do to an object of a class
	// labelled target, constraints included (/sys/fs/selinux/access).
	Access(ctx context.Context, q AccessQuery) (Access, error)
	// Probe plays a broken-out guest; see ProbeRequest.
	Probe(ctx context.Context, name string, req ProbeRequest) (Probe, error)
}

// Inspection is GET /v1/node/inspect. Every label in it is read from the kernel
// at that moment, not from what the manager meant it to be.
type Inspection struct {
	Processes []Process `json:"processes"`
	Mounts    []Mount   `json:"mounts"`
	Sockets   []Socket  `json:"sockets"`
}

// Process is one process of the node, from /proc/PID.
type Process struct {
	PID  int    `json:"pid"`
	PPID int    `json:"ppid"`
	Comm string `json:"comm"`
	// Kernel says that it is a kernel thread (PF_KTHREAD in /proc/PID/stat).
	Kernel bool   `json:"kernel,omitempty"`
	UID    uint32 `json:"uid"`
	Label  string `json:"label"` // /proc/PID/attr/current
	VM     string `json:"vm,omitempty"`
}

// Mount is one mount of an NFS directory in a VM's mount namespace.
type Mount struct {
	VM     string `json:"vm"`
	Source string `json:"source"` // host:/export/dir
	Target string `json:"target"` // in the VM's namespace
	FSType string `json:"fstype"`
	// Options are the superblock's, as in /proc/PID/mountinfo, with context=.
	Options string `json:"options"`
	Label   string `json:"label"` // of the mount's root directory (getxattr)
}

// Socket is a UNIX socket that belongs to a VM.
type Socket struct {
	VM    string `json:"vm"`
	Path  string `json:"path"`
	Kind  string `json:"kind"`  // "qmp", "console"
	Label string `json:"label"` // of the socket's file
	// Peer is the label of the listening socket itself, which connectto is
	// checked against (security.selinux of QEMU's descriptor, below
	// /proc/PID/fd). Not SO_PEERSEC: that has the caller's own level.
	Peer string `json:"peer"`
}

// AccessQuery is GET /v1/node/access?source=&target=&class=.
type AccessQuery struct {
	Source string `json:"source"`
	Target string `json:"target"`
	Class  string `json:"class"` // such as "file"
}

// Access is the kernel's answer to an AccessQuery: the permissions granted, sorted.
type Access struct {
	AccessQuery
	Allowed []string `json:"allowed"`
}

// ProbeRequest is POST /v1/vms/{name}/probe. The manager opens the first NFS
// disk of the VM DiskOf, under the label that it has there (from that VM's own
// mount namespace), read-only, and offers the descriptor to the QEMU of the VM
// {name} over its QMP socket (add-fd), as a broken-out guest with help from
// outside would. The kernel checks every descriptor that a process receives and
// drops those that its label may not use. Whatever QEMU took is removed again
// (remove-fd). Both VMs must run. DiskOf may be {name} itself: the control.
type ProbeRequest struct {
	DiskOf string `json:"diskOf"`
}

// Probe is what came of it. Refusal is a result, not an error.
type Probe struct {
	Accepted bool   `json:"accepted"`
	Answer   string `json:"answer"` // QEMU's words
	// Label is the receiving QEMU's, Object the descriptor's (fgetxattr).
	Label  string `json:"label"`
	Object string `json:"object"`
}

// registerInspect adds the operations of an Inspector.
func registerInspect(a huma.API, i Inspector) {
	read(a, huma.Operation{
		OperationID: "inspect-node", Path: "/v1/node/inspect", Tags: []string{"node"},
		Summary:     "Processes, mounts and sockets with their labels",
		Description: "What the kernel says at this moment: every process of the node, and the NFS mounts and UNIX sockets of its VMs.",
	}, func(ctx context.Context, _ *struct{}) (Inspection, error) { return i.Inspect(ctx) })
	read(a, huma.Operation{
		OperationID: "query-access", Path: "/v1/node/access", Tags: []string{"node"},
		Summary:     "What one label may do to another",
		Description: "Asks the running kernel which permissions of a class a process labelled source has on an object labelled target. The MCS constraint is part of the answer.",
	}, func(ctx context.Context, in *accessInput) (Access, error) {
		return i.Access(ctx, AccessQuery{in.Source, in.Target, in.Class})
	})
	op := huma.Operation{
		OperationID: "probe-vm", Method: http.MethodPost, Path: "/v1/vms/{name}/probe", Tags: []string{"vm"},
		Summary:     "Offer a VM the disk of another",
		Description: "Isolation self-test: a descriptor of diskOf's disk is handed to the VM's QEMU, as if it had broken out and found a helper. The kernel is to drop it. Nothing is read or written.",
	}
	registerDocument[ProbeRequest](a, op, spec.MaxVMDocument, func(ctx context.Context, in *probeInput) (*output[Probe], error) {
		var req ProbeRequest
		if err := spec.Unmarshal(in.RawBody, spec.MaxVMDocument, &req); err != nil {
			return nil, problemOf(err)
		}
		var out output[Probe]
		err := detached(ctx, func(ctx context.Context) (err error) {
			out.Body, err = i.Probe(ctx, in.Name, req)
			return err
		})
		return &out, err
	})
}

type accessInput struct {
	Source string `query:"source" required:"true" maxLength:"256" example:"system_u:system_r:svirt_t:s0:c1,c2"`
	Target string `query:"target" required:"true" maxLength:"256" example:"system_u:object_r:svirt_image_t:s0:c3,c4"`
	Class  string `query:"class" required:"true" pattern:"^[a-z0-9_]+$" maxLength:"64" example:"file"`
}

type probeInput struct {
	document
	// huma looks for parameters in exported fields only: no embedded named here.
	Name string `path:"name" doc:"The VM whose QEMU is offered the disk." pattern:"^[a-z][a-z0-9-]*$" maxLength:"63" example:"web-1"`
}

// Inspect lists the node's processes, mounts and sockets.
func (c *Client) Inspect(ctx context.Context) (Inspection, error) {
	return call[Inspection](ctx, c, http.MethodGet, "/v1/node/inspect", nil)
}

// Access asks the node's kernel what one label may do to another.
func (c *Client) Access(ctx context.Context, q AccessQuery) (Access, error) {
	v := url.Values{"source": {q.Source}, "target": {q.Target}, "class": {q.Class}}
	return call[Access](ctx, c, http.MethodGet, "/v1/node/access?"+v.Encode(), nil)
}

// Probe offers the VM a disk of another.
func (c *Client) Probe(ctx context.Context, name string, req ProbeRequest) (Probe, error) {
	return call[Probe](ctx, c, http.MethodPost, vmPath(name)+"/probe", req)
}

var _ Inspector = (*Client)(nil)
