// Package boot is the node's init, PID 1 in init_t: it takes the machine from
// stage0's bare root to a node that serves its API, in phases whose durations
// are on the console, then keeps vmhostd and the gateway running and takes the
// node down when asked. It knows nothing of VMs, and it can not change the
// SELinux policy: it reads the network and is not trusted with that.
//
// It fails closed: what it can not do without powers the node off, with the
// reason on the console. A configuration that can not be read leaves the node up
// and its API down, so that nobody takes a default for what was configured.
package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"casemate/initramfs/boot/cmdline"
	"casemate/initramfs/boot/halt"
	"casemate/initramfs/boot/kmod"
	"casemate/initramfs/boot/network"
	"casemate/initramfs/boot/nodelog"
	"casemate/initramfs/boot/supervise"
	"casemate/policy"
	"casemate/vmhost/spec"

	"golang.org/x/sys/unix"
)

// logSize is where the log rotates, in bytes: /run has room for two.
const logSize = 1 << 20

// node is the state of PID 1.
type node struct {
	log      *nodelog.Log
	params   cmdline.Params
	info     spec.NodeInfo
	doc      spec.Node
	reaper   *supervise.Reaper
	modules  *kmod.Loader
	devices  *devices
	buttons  *buttons
	network  *network.Network
	fetch    *fetcher
	services []*supervise.Service

	// Tasks that wait for what runs in the background.
	connected, vmModules func(context.Context) error

	fingerprint string // of the API's certificate
	cancel      context.CancelFunc
	asked       chan request
}

// request asks for the node's end.
type request struct {
	action action
	why    string
}

// errConfig marks a failure that leaves the node up.
var errConfig = errors.New("no usable configuration")

// Run is PID 1. It does not return.
func Run() {
	defer halt.OnPanic()
	ctx, cancel := context.WithCancel(context.Background())
	n := &node{
		log: nodelog.New(consoles("/sys/class/tty/console/active", "/dev")...), cancel: cancel, fetch: newFetcher(),
		asked: make(chan request, 8),
	}
	n.buttons = newButtons("/sys", "/dev", func() { n.ask(powerOff, "power button") }, n.logf)
	n.network = network.New(resolvConf, n.logf)
	n.reaper = &supervise.Reaper{Orphan: func(pid int, s supervise.Status) { n.log.Quiet("init", fmt.Sprintf("orphan %d: %v", pid, s)) }}
	go n.reaper.Run(nil)
	n.signals()

	if err := n.identify(); err != nil {
		n.fatal(err)
	}
	booted := make(chan error, 1)
	go func() {
		defer halt.OnPanic()
		booted <- runPhases(ctx, n.phases(), n.logf)
	}()
	var err error
	select {
	case err = <-booted:
	case r := <-n.asked: // in the middle of the boot
		cancel()
		select {
		case <-booted:
		case <-time.After(10 * time.Second): // a driver's probe may never come back
			n.logf("%s: the boot does not end", r.why)
		}
		n.down(r.action, r.why)
	}
	switch {
	case errors.Is(err, errConfig):
		n.log.Printf("casemate", "NOT READY: %v", err)
		n.log.Printf("casemate", "the node stays up without its API; correct the configuration and boot it again")
		halt.Record("casemate: NOT READY: %v", err)
	case err != nil:
		n.fatal(err)
	}
	r := <-n.asked
	n.down(r.action, r.why)
}

func (n *node) logf(format string, args ...any) { n.log.Printf("init", format, args...) }

func (n *node) fatal(err error) {
	n.log.Flush(consoleFlush)
	halt.Fatal(err)
}

// identify takes what stage0 and the kernel say, and checks the domain.
func (n *node) identify() error {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return fmt.Errorf("uname: %w", err)
	}
	version, err := strconv.Atoi(os.Getenv("CASEMATE_POLICY_VERSION"))
	if err != nil {
		return fmt.Errorf("CASEMATE_POLICY_VERSION from stage0: %w", err)
	}
	n.info = spec.NodeInfo{
		Version: spec.Version, Kernel: unix.ByteSliceToString(uts.Release[:]),
		Permissive: os.Getenv("CASEMATE_PERMISSIVE") == "1",
		Policy:     spec.PolicyInfo{Version: version, Digest: os.Getenv("CASEMATE_POLICY_DIGEST")},
	}
	if n.params, err = cmdline.Read("/proc/cmdline"); err != nil {
		return err
	}
	label, err := ownLabel("/proc/thread-self/attr/current")
	if err != nil {
		return err
	}
	if label != policy.InitContext {
		err := fmt.Errorf("init runs as %s, not as %s", label, policy.InitContext)
		if !n.info.Permissive {
			return err
		}
		n.logf("permissive: %v", err)
	}
	return nil
}

func ownLabel(file string) (string, error) {
	b, err := os.ReadFile(file)
	return strings.TrimRight(string(b), "\x00\n"), err
}

// consoles opens the kernel's consoles, all that are active.
func consoles(active, dev string) []io.Writer {
	b, _ := os.ReadFile(active)
	var list []io.Writer
	for name := range strings.FieldsSeq(string(b)) {
		if f, err := os.OpenFile(dev+"/"+name, os.O_WRONLY|unix.O_NOCTTY, 0); err == nil {
			list = append(list, f)
		}
	}
	if len(list) == 0 {
		list = append(list, os.Stderr)
	}
	return list
}

// signals has the signals to PID 1 handled. The others are ignored: a Go
// program would end of some, and PID 1 must not.
func (n *node) signals() {
	signal.Ignore(unix.SIGHUP, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGPIPE, unix.SIGALRM, unix.SIGPWR,
		unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU)
	c := make(chan os.Signal, 4)
	signal.Notify(c, unix.SIGUSR2, unix.SIGINT)
	// From now on Ctrl-Alt-Del is SIGINT rather than a reboot at once.
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF); err != nil {
		n.logf("take over Ctrl-Alt-Del: %v", err)
	}
	go func() {
		defer halt.OnPanic()
		for s := range c {
			a := reboot
			if s == unix.SIGUSR2 {
				a = powerOff
			}
			n.ask(a, "asked by "+unix.SignalName(s.(unix.Signal)))
		}
	}()
}

// ask has the node taken down.
func (n *node) ask(a action, why string) {
	select {
	case n.asked <- request{a, why}:
	default: // it goes down already
	}
}

// ready prints the line that says that the node serves.
func (n *node) ready() {
	uptime, err := os.ReadFile("/proc/uptime")
	if err != nil {
		n.logf("%v", err)
	}
	line := readyLine(n.info, n.network.Addr(), n.fingerprint, string(uptime))
	n.log.Line("casemate", line)
	halt.Record("casemate: %s", line)
}

// readyLine gives the line without "casemate: ". uptime is /proc/uptime's text.
func readyLine(info spec.NodeInfo, addr net.IP, fingerprint, uptime string) string {
	host := "0.0.0.0" // no address yet
	if addr != nil {
		host = addr.String()
	}
	seconds, _, _ := strings.Cut(uptime, " ")
	line := fmt.Sprintf("ready node=%s api=https://%s fingerprint=SHA256:%s policy=%s uptime=%s",
		info.Name, net.JoinHostPort(host, apiPort), fingerprint, info.Policy.Digest, seconds)
	if info.Permissive {
		line += " permissive=1"
	}
	return line
}
