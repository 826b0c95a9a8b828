package boot

import (
	"casemate/policy"

	"golang.org/x/sys/unix"
)

// GatewayID is the uid and gid that the gateway runs as.
const GatewayID = 900

// Paths on the node; the other side of each is in vmhost or the gateway.
const (
	runDir     = "/run/casemate"
	nodeLog    = runDir + "/log/node.log"
	resolvConf = runDir + "/resolv.conf" // /etc/resolv.conf points here
	gatewayDir = runDir + "/gateway"
	mediaDir   = "/var/lib/casemate/media"
	cgroupDir  = "/sys/fs/cgroup"
)

const (
	noSUID = unix.MS_NOSUID | unix.MS_NODEV
	noExec = noSUID | unix.MS_NOEXEC
)

// fileSystems is what there is besides the root and stage0's /proc, /sys, /dev.
var fileSystems = []creator{
	mount{"tmpfs", "/run", "tmpfs", noExec, "mode=0755,size=64m", policy.InitRunContext},
	dir{runDir, 0o755, 0, policy.InitRunContext},
	dir{runDir + "/log", 0o750, 0, policy.LogContext},
	dir{gatewayDir, 0o750, GatewayID, policy.GatewayRunContext},
	dir{runDir + "/vmhostd", 0o750, GatewayID, policy.VMHostRunContext},
	dir{runDir + "/vms", 0o755, 0, policy.VMHostRunContext},
	dir{runDir + "/chamber", 0o755, 0, policy.ChamberContext},

	mount{"tmpfs", "/tmp", "tmpfs", noExec, "mode=1777,size=64m", ""},
	mount{"tmpfs", "/var", "tmpfs", noExec, "mode=0755,size=16m", policy.InitRunContext},
	dir{"/var/lib", 0o755, 0, ""},
	dir{"/var/lib/casemate", 0o755, 0, ""},
	dir{mediaDir, 0o755, 0, ""},
	mount{"tmpfs", mediaDir, "tmpfs", noExec, "mode=0755", policy.VirtContentContext},

	mount{"cgroup2", cgroupDir, "cgroup2", noExec, "", ""},
	setting{cgroupDir + "/cgroup.subtree_control", "+cpu +memory +pids"},
	dir{cgroupDir + "/casemate", 0o755, 0, ""},
	setting{cgroupDir + "/casemate/cgroup.subtree_control", "+cpu +memory +pids"},

	// There is no modprobe: what the kernel asks for is loaded anyway, or not in the image.
	setting{"/proc/sys/kernel/modprobe", "\n"},
	// Nor is there IPv6 yet: nobody but us gives the node an address.
	setting{"/proc/sys/net/ipv6/conf/all/disable_ipv6", "1"},
	setting{"/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"},
}
