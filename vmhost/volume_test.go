package vmhost

import (
	"strings"
	"testing"

	"casemate/vmhost/api"
)

func TestCreateVolume(t *testing.T) {
	const ref = "nfs://192.0.2.1/exports/web-1/new.qcow2"
	for _, c := range []struct {
		name   string
		how    string
		req    api.VolumeRequest
		status int
		want   string
	}{
		{"made", "img", api.VolumeRequest{Volume: ref, Size: 1 << 30}, 200, ""},
		{"exists", "report create volume", api.VolumeRequest{Volume: ref, Size: 1 << 30}, 409, "not overwritten"},
		{"qemu-img fails", "dies", api.VolumeRequest{Volume: ref, Size: 1 << 30}, 422, "this is how it dies"},
		{"no size", "img", api.VolumeRequest{Volume: ref}, 422, "size"},
		{"local", "img", api.VolumeRequest{Volume: "local/x.qcow2", Size: 1}, 422, "only volumes on NFS"},
		{"no name", "img", api.VolumeRequest{Volume: "x", Size: 1}, 422, "volume"},
		{"name against format", "img", api.VolumeRequest{Volume: ref, Size: 1, Format: "raw"}, 422, "its name says qcow2"},
		{"unknown format", "img", api.VolumeRequest{Volume: ref, Size: 1, Format: "vmdk"}, 422, "want qcow2 or raw"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newFakeNode(t)
			n.set(c.how, "", "")
			v, err := n.m.CreateVolume(t.Context(), c.req)
			if status(err) != c.status || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("CreateVolume() = %d %v; want %d with %q", status(err), err, c.status, c.want)
			}
			if err == nil && (v.Volume != ref || v.Format != "qcow2") {
				t.Errorf("CreateVolume() = %+v", v)
			}
			if left := n.left(); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestCreateVolumeHeld: not in a directory that a VM has.
func TestCreateVolumeHeld(t *testing.T) {
	n := newFakeNode(t)
	n.create(web("web-1"))
	n.start("web-1")
	_, err := n.m.CreateVolume(t.Context(), api.VolumeRequest{Volume: "nfs://192.0.2.1/exports/web-1/x.qcow2", Size: 1 << 20})
	if status(err) != 409 || !strings.Contains(err.Error(), "VM web-1") {
		t.Errorf("CreateVolume() in a VM's directory = %d %v; want 409 that names VM web-1", status(err), err)
	}
}
