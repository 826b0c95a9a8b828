package devlabel

import (
	"io/fs"
	"testing"
)

func TestContext(t *testing.T) {
	const o = "system_u:object_r:"
	for _, tt := range []struct {
		name string
		mode fs.FileMode
		want string
	}{
		{"console", char, o + "console_device_t:s0"},
		{"ttyS0", char, o + "console_device_t:s0"},
		{"tty", char, o + "console_device_t:s0"},
		{"null", char, o + "null_device_t:s0"},
		{"urandom", char, o + "random_device_t:s0"},
		{"kmsg", char, o + "kmsg_device_t:s0"},
		{"loop-control", char, o + "loop_device_t:s0"},
		{"loop0", block, o + "loop_device_t:s0"},
		{"kvm", char, o + "kvm_device_t:s0"},
		{"net/tun", char, o + "tun_device_t:s0"},
		{"input/event3", char, o + "event_device_t:s0"},
		{"nvme0n1p1", block, o + "block_device_t:s0"},
		// An NVMe controller's own node is no disk, nor is a file called kvm.
		{"nvme0", char, ""},
		{"kvm", 0, ""},
		{"loop0", char, ""},
		{"tun", char, ""},
		{"input/mouse0", char, ""},
		{"hpet", char, ""},
	} {
		got, ok := Context(tt.name, tt.mode|0o600)
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("Context(%q, %v) = %q, %v; want %q", tt.name, tt.mode, got, ok, tt.want)
		}
	}
}

func TestNodeMissing(t *testing.T) {
	if err := Node(t.TempDir(), "kvm"); err != nil {
		t.Errorf("Node of a missing file = %v; want nil", err)
	}
}
