package boot

import (
	"errors"
	"os"
	"strings"
	"time"

	"casemate/initramfs/boot/halt"

	"golang.org/x/sys/unix"
)

// action is how the node ends.
type action string

const (
	powerOff action = "power off"
	reboot   action = "reboot"
)

// down takes the node down in order and does not return: VMs, services,
// everything else that runs, file systems, the machine.
func (n *node) down(a action, why string) {
	n.log.Printf("init", "%s: %s", a, why)
	start := time.Now()
	stopServices(n.services)
	n.cancel()
	// What is left belongs to nobody: VMs whose manager had died.
	if err := unix.Kill(-1, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		n.logf("kill what still runs: %v", err)
	}
	if !n.reaper.Drain(5 * time.Second) {
		n.logf("%s: some processes did not end", a)
	}
	n.logf("%s: services stopped after %d ms", a, time.Since(start).Milliseconds())
	n.log.Close()
	unmountAll("/proc/self/mounts", n.logf)
	n.log.Printf("casemate", "%s", a)
	n.log.Flush(2 * time.Second)
	if a == reboot {
		halt.Reboot()
	}
	halt.PowerOff()
}

// unmountAll unmounts what mounts(5) lists, the last first, but the root and
// what the kernel makes up.
func unmountAll(mounts string, logf func(string, ...any)) {
	b, err := os.ReadFile(mounts)
	if err != nil {
		logf("%v", err)
		return
	}
	for _, target := range toUnmount(string(b)) {
		if err := unix.Unmount(target, 0); err != nil {
			logf("unmount %s: %v", target, err)
		}
	}
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// toUnmount gives the mount points to unmount, in order.
func toUnmount(mounts string) []string {
	var targets []string
	for line := range strings.Lines(mounts) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		switch target := unescape.Replace(f[1]); {
		case target == "/", f[2] == "proc", f[2] == "sysfs", f[2] == "devtmpfs", f[2] == "selinuxfs":
		default:
			targets = append([]string{target}, targets...)
		}
	}
	return targets
}
