package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"casemate/initramfs/boot/devlabel"
	"casemate/initramfs/boot/halt"
	"casemate/initramfs/boot/kmod"
	"casemate/policy"
	"casemate/vmhost/spec"

	"golang.org/x/sys/unix"
)

const (
	apiPort      = "8443"
	consoleFlush = 2 * time.Second
	// networkTimeout bounds the wait for a link and a lease; both are still
	// waited for in the background.
	networkTimeout = 45 * time.Second
)

// phases is the boot. Most of its time goes into loading kernel modules and
// waiting for the network, so both begin as early as they can, and what VMs need
// is loaded behind everything else.
func (n *node) phases() []Phase {
	return []Phase{
		{"filesystems", []Task{
			{"mounts", n.mounts, true},
			{"audit", n.audit, false},
			{"modules", n.openModules, true},
		}},
		{"devices", []Task{
			{"coldplug", n.coldplug, true},
		}},
		{"network", []Task{
			{"dhcp", func(ctx context.Context) error { return n.connected(ctx) }, false},
		}},
		{"config", []Task{
			{"load", n.loadConfig, true},
		}},
		{"bridges", []Task{
			{"bridges", n.bridges, false},
			{"clock", n.clock, false},
		}},
		{"storage", []Task{
			{"media", n.media, false},
			{"identity", n.identity, true},
		}},
		{"services", []Task{
			{"modules", func(ctx context.Context) error { return n.vmModules(ctx) }, false},
			{"start", n.startServices, false},
		}},
	}
}

func (n *node) mounts(context.Context) error {
	if err := create(fileSystems); err != nil {
		return err
	}
	if err := n.log.Open(nodeLog, logSize); err != nil {
		return err
	}
	return devlabel.Set(nodeLog, policy.LogContext) // no-op: by its directory
}

func (n *node) audit(context.Context) error {
	return startAudit("/dev/kmsg", func(line string) { n.log.Quiet("init", line) }, n.logf)
}

func (n *node) openModules(context.Context) (err error) {
	n.modules, err = kmod.Open(filepath.Join("/usr/lib/modules", n.info.Kernel))
	return err
}

func (n *node) coldplug(ctx context.Context) error {
	n.devices = newDevices(n.modules, n.logf, n.buttons.watch)
	if err := n.devices.listen(); err != nil {
		return err
	}
	n.connected = background(ctx, n.connect)
	n.buttons.watchAll()
	err := n.devices.coldplug(ctx)
	if !randomReady() {
		n.logf("devices: the kernel has no random numbers yet, and init waits for them: a machine without RDRAND wants a hardware RNG (virtio-rng)")
	}
	n.vmModules = background(ctx, n.devices.forVMs)
	return err
}

func (n *node) connect(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, networkTimeout)
	defer cancel()
	err := n.network.Connect(bounded)
	go func() {
		defer halt.OnPanic()
		n.network.Keep(ctx)
	}()
	return err
}

func (n *node) loadConfig(ctx context.Context) error {
	doc, from, err := loadConfig(ctx, configSources(n.params, n.fetch.patient(), fwCfgFile, embeddedFile))
	if err != nil {
		return fmt.Errorf("%w: %w", errConfig, err)
	}
	n.logf("configuration: %s", from)
	n.doc, n.info.Name, n.info.Config = doc, doc.Name, doc
	if err := unix.Sethostname([]byte(doc.Name)); err != nil {
		return fmt.Errorf("set host name %s: %w", doc.Name, err)
	}
	return nil
}

func (n *node) bridges(context.Context) error {
	if len(n.doc.Network.Bridges) == 0 {
		return nil
	}
	if err := n.modules.Load("bridge"); err != nil {
		return err
	}
	var errs []error
	for _, b := range n.doc.Network.Bridges {
		errs = append(errs, n.network.Bridge(b))
	}
	return errors.Join(errs...)
}

// clock looks at the time, which the kernel took from the RTC. A wrong one
// would show as certificates that are not yet valid.
func (n *node) clock(context.Context) error {
	if now := time.Now().UTC(); now.Year() < 2025 {
		return fmt.Errorf("the clock says %s: set the machine's RTC, or certificates will not be accepted", now.Format(time.RFC3339))
	}
	return nil
}

func (n *node) media(ctx context.Context) error {
	return fetchMedia(ctx, n.fetch, n.doc.Media, mediaDir, func(file string) error {
		return devlabel.Set(file, policy.VirtContentContext)
	})
}

func (n *node) identity(context.Context) (err error) {
	if n.fingerprint, err = writeIdentity(n.doc, n.network.Addr(), gatewayDir, GatewayID); err != nil {
		return err
	}
	return writeNodeInfo(n.info, spec.NodeInfoPath)
}

// startServices says ready before NFS is loaded, which takes as long as all of
// the boot before: a VM with a volume waits for the lock instead.
func (n *node) startServices(ctx context.Context) error {
	loaded, err := lock(spec.VolumesLock)
	if err != nil {
		return err
	}
	n.services = services(n.log, n.reaper)
	return startServices(ctx, n.services, func() {
		// Ready is to mean that VMs can be started, too.
		if err := n.vmModules(ctx); err != nil && ctx.Err() != nil {
			return // the node goes down; the phase reports other errors
		}
		if _, err := os.Stat("/dev/kvm"); err != nil {
			n.logf("no /dev/kvm: VMs can run with accelerator tcg only")
		}
		n.ready()
		go func() {
			defer halt.OnPanic()
			defer loaded.Close()
			n.devices.forVolumes()
		}()
	})
}

// lock makes the file and locks it exclusively until it is closed.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	return f, nil
}
