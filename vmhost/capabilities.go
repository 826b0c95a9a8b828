package vmhost

import (
	"context"
	"encoding/json"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"casemate/policy"
	"casemate/vmhost/api"
	"casemate/vmhost/spec"
)

// Capabilities says what this node is.
func (m *Manager) Capabilities(context.Context) (api.Capabilities, error) {
	enforce, err := os.ReadFile(m.paths.Enforce)
	if err != nil {
		return api.Capabilities{}, err
	}
	_, kvmErr := os.Stat(m.paths.KVM)
	c := api.Capabilities{
		Node: m.node.Name, Version: m.node.Version, Kernel: m.node.Kernel, QEMU: m.qemuRelease(),
		KVM: kvmErr == nil, CPUs: runtime.NumCPU(), Uptime: uptime().Seconds(),
		Security: api.SecurityModel{
			Model: "selinux", DOI: "0", Enforcing: strings.TrimSpace(string(enforce)) == "1",
			Policy: api.Policy{Version: m.node.Policy.Version, Digest: m.node.Policy.Digest},
			// Without categories, as libvirt reports them: each VM adds its own.
			BaseLabels: map[string]string{
				spec.AcceleratorKVM: policy.Process(policy.SvirtType, "s0"),
				spec.AcceleratorTCG: policy.Process(policy.SvirtTCGType, "s0"),
			},
		},
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return c, os.NewSyscallError("sysinfo", err)
	}
	c.Memory = spec.Size(info.Totalram * uint64(info.Unit))
	return c, nil
}

// qemuRelease is QEMU's version as the image's build knew it, or else as the
// last QEMU said; empty before the first.
func (m *Manager) qemuRelease() string {
	var release struct {
		QEMU string `json:"qemu"`
	}
	if b, err := os.ReadFile(m.paths.Release); err == nil && json.Unmarshal(b, &release) == nil && release.QEMU != "" {
		return release.QEMU
	}
	m.qemuMu.Lock()
	defer m.qemuMu.Unlock()
	return m.qemuVersion
}

func uptime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
