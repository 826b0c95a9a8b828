package api

import (
	"context"
	"net/http"
	"time"

	"casemate/vmhost/spec"

	"github.com/danielgtaylor/huma/v2"
)

// named is the input of whatever concerns one VM.
type named struct {
	Name string `path:"name" doc:"The VM's name." pattern:"^[a-z][a-z0-9-]*$" maxLength:"63" example:"web-1"`
}

type output[T any] struct{ Body T }

// register adds every operation. Ids are those of roleOf.
func register(a huma.API, m Manager) {
	read(a, huma.Operation{
		OperationID: "get-capabilities", Path: "/v1/capabilities", Tags: []string{"node"},
		Summary:     "What the node is",
		Description: "Kernel, QEMU, whether KVM works, and the security model: the policy's version and digest (equal to the image's manifest.json) and the base labels of guests.",
	}, func(ctx context.Context, _ *struct{}) (Capabilities, error) { return m.Capabilities(ctx) })
	read(a, huma.Operation{
		OperationID: "list-vms", Path: "/v1/vms", Tags: []string{"vm"},
		Summary:     "All VMs of the node",
		Description: "Every VM with its document and its status, by name.",
	}, func(ctx context.Context, _ *struct{}) ([]VM, error) {
		vms, err := m.List(ctx)
		if vms == nil {
			vms = []VM{} // an empty list, not null
		}
		return vms, err
	})
	read(a, huma.Operation{
		OperationID: "get-vm", Path: "/v1/vms/{name}", Tags: []string{"vm"},
		Summary:     "One VM",
		Description: "The VM's document with defaults filled in, and its status: state, label as the kernel reports it, process.",
	}, func(ctx context.Context, in *named) (VM, error) { return m.Get(ctx, in.Name) })

	registerCreate(a, m)
	huma.Register(a, huma.Operation{
		OperationID: "delete-vm", Method: http.MethodDelete, Path: "/v1/vms/{name}", Tags: []string{"vm"},
		DefaultStatus: http.StatusNoContent,
		Summary:       "Forget a VM",
		Description:   "Removes a VM that is shut off, and releases its pair of categories. Volumes stay as they are.",
	}, func(ctx context.Context, in *named) (*struct{}, error) {
		return nil, detached(ctx, func(ctx context.Context) error { return m.Delete(ctx, in.Name) })
	})
	for _, act := range vmActions(m) {
		registerAction(a, act)
	}
	registerVolume(a, m)
	registerStreams(a, m)
	if i, ok := m.(Inspector); ok {
		registerInspect(a, i)
	}
	for _, p := range []struct {
		id, summary string
		action      PowerAction
	}{
		{"poweroff-node", "Power the node off", PowerOff},
		{"reboot-node", "Reboot the node", Reboot},
	} {
		huma.Register(a, huma.Operation{
			OperationID: p.id, Method: http.MethodPost, Path: "/v1/node/" + string(p.action), Tags: []string{"node"},
			DefaultStatus: http.StatusAccepted,
			Summary:       p.summary,
			Description:   "Guests are asked to shut down (ACPI) and stopped when they do not. The answer comes before that.",
		}, func(ctx context.Context, _ *struct{}) (*struct{}, error) {
			return nil, detached(ctx, func(ctx context.Context) error { return m.Power(ctx, p.action) })
		})
	}
}

// read registers a GET with a JSON answer.
func read[I, O any](a huma.API, op huma.Operation, get func(context.Context, *I) (O, error)) {
	op.Method = http.MethodGet
	huma.Register(a, op, func(ctx context.Context, in *I) (*output[O], error) {
		ctx, cancel := context.WithTimeout(ctx, operationTimeout)
		defer cancel()
		body, err := get(ctx, in)
		if err != nil {
			return nil, problemOf(err)
		}
		return &output[O]{body}, nil
	})
}

type action struct {
	verb, summary, description string
	do                         func(context.Context, string) (VM, error)
}

func vmActions(m Manager) []action {
	return []action{
		{"start", "Start a VM", "Labels the volumes, starts QEMU under the VM's label and answers when QEMU does and the kernel confirms the label. Anything else ends the process and is an error.", m.Start},
		{"shutdown", "Ask a guest to shut down", "Presses the ACPI power button. Whether the guest heeds it is its own decision: watch the state, or stop the VM.", m.Shutdown},
		{"stop", "Stop a VM at once", "Ends QEMU, as pulling the plug does, and restores the volumes' labels.", m.Stop},
		{"reset", "Reset a VM", "Presses the reset button. QEMU and the label stay.", m.Reset},
		{"pause", "Pause a VM", "Stops the virtual CPUs. Memory and devices stay.", m.Pause},
		{"resume", "Resume a paused VM", "Lets the virtual CPUs go on.", m.Resume},
	}
}

func registerAction(a huma.API, act action) {
	huma.Register(a, huma.Operation{
		OperationID: act.verb + "-vm", Method: http.MethodPost, Path: "/v1/vms/{name}/" + act.verb, Tags: []string{"vm"},
		Summary: act.summary, Description: act.description,
	}, func(ctx context.Context, in *named) (*output[VM], error) {
		var out output[VM]
		err := detached(ctx, func(ctx context.Context) (err error) {
			out.Body, err = act.do(ctx, in.Name)
			return err
		})
		return &out, err
	})
}

type createInput struct {
	document
	Start bool `query:"start" doc:"Start the VM too. If it does not start, it is not created either."`
}

type createOutput struct {
	Location string `header:"Location" doc:"Where the new VM is."`
	Body     VM
}

func registerCreate(a huma.API, m Manager) {
	op := huma.Operation{
		OperationID: "create-vm", Method: http.MethodPost, Path: "/v1/vms", Tags: []string{"vm"},
		DefaultStatus: http.StatusCreated,
		Summary:       "Create a VM",
		Description:   "Takes a VM document, YAML or JSON. An unknown field is an error, as is a name that is taken; either way nothing changes.",
	}
	registerDocument[spec.VM](a, op, spec.MaxVMDocument, func(ctx context.Context, in *createInput) (*createOutput, error) {
		doc, err := spec.ParseVM(in.RawBody)
		if err == nil {
			doc.SetDefaults()
			err = doc.Validate()
		}
		if err != nil {
			return nil, problemOf(err)
		}
		out := &createOutput{Location: "/v1/vms/" + doc.Name}
		err = detached(ctx, func(ctx context.Context) error {
			if out.Body, err = m.Create(ctx, doc); err != nil || !in.Start {
				return err
			}
			if out.Body, err = m.Start(ctx, doc.Name); err != nil {
				undo(ctx, m, doc.Name)
			}
			return err
		})
		return out, err
	})
}

// undo takes back a creation whose start failed, with time of its own: the
// start may have used it all up.
func undo(ctx context.Context, m Manager, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	_ = m.Delete(ctx, name) // if not, the VM shows in the list, shut off
}

func registerVolume(a huma.API, m Manager) {
	op := huma.Operation{
		OperationID: "create-volume", Method: http.MethodPost, Path: "/v1/volumes", Tags: []string{"volume"},
		DefaultStatus: http.StatusCreated,
		Summary:       "Create a volume",
		Description:   "Makes an empty qcow2 or raw file on an NFS server, with qemu-img confined under a pair of categories of its own. An existing file is never overwritten.",
	}
	registerDocument[VolumeRequest](a, op, spec.MaxVMDocument, func(ctx context.Context, in *document) (*output[Volume], error) {
		req, err := parseVolumeRequest(in.RawBody)
		if err != nil {
			return nil, problemOf(err)
		}
		var out output[Volume]
		err = detached(ctx, func(ctx context.Context) (err error) {
			out.Body, err = m.CreateVolume(ctx, req)
			return err
		})
		return &out, err
	})
}

// detached runs what changes something to its end, within operationTimeout,
// whether or not the client waits for it: a cable pulled at the wrong moment
// must not leave half a VM.
func detached(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), operationTimeout)
	defer cancel()
	if err := do(ctx); err != nil {
		return problemOf(err)
	}
	return nil
}
