package boot

import (
	"context"
	"fmt"
	"io"
	"time"

	"casemate/initramfs/boot/halt"
	"casemate/initramfs/boot/nodelog"
	"casemate/initramfs/boot/supervise"
	"casemate/policy"

	"golang.org/x/sys/unix"
)

// readyTimeout is how long the boot waits for the services. They are kept
// running anyway, and the ready line comes when they are.
const readyTimeout = 30 * time.Second

// services gives what init keeps running, in the order in which to stop them.
func services(log *nodelog.Log, reaper *supervise.Reaper) []*supervise.Service {
	output := func(who string) func(io.Reader) {
		return func(r io.Reader) {
			defer halt.OnPanic()
			log.Copy(who, r)
		}
	}
	env := []string{"PATH=/usr/sbin:/usr/bin", "HOME=/"}
	var list []*supervise.Service
	for _, p := range []*supervise.Process{
		{
			Name: "vmhostd", Path: "/usr/sbin/vmhostd", Label: policy.VMHostContext,
			// SIGPWR: the node goes down. vmhostd asks the VMs to power down, which takes 30 s
			// at most, and stops the rest. (SIGTERM would leave them running.)
			Stop: unix.SIGPWR, StopTimeout: 45 * time.Second,
		},
		{
			Name: "gateway", Path: "/usr/sbin/gateway", Label: policy.GatewayContext,
			UID: GatewayID, GID: GatewayID,
			Stop: unix.SIGTERM, StopTimeout: 5 * time.Second,
		},
	} {
		p.Args, p.Env, p.Output, p.Reaper = []string{p.Name}, env, output(p.Name), reaper
		list = append(list, supervise.New(p, supervise.DefaultBackoff, func(format string, args ...any) {
			log.Printf("init", format, args...)
		}))
	}
	return list
}

// startServices starts them and waits until all are ready, for a bounded time.
// allReady is called when they are, be it later.
func startServices(ctx context.Context, list []*supervise.Service, allReady func()) error {
	done := make(chan struct{})
	for _, s := range list {
		s.Start()
	}
	go func() {
		defer halt.OnPanic()
		for _, s := range list {
			<-s.Ready()
		}
		allReady()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(readyTimeout):
	}
	for _, s := range list {
		select {
		case <-s.Ready():
		default:
			return fmt.Errorf("%v is not ready after %v (it is %v); still trying", s, readyTimeout, s.State())
		}
	}
	return nil
}

// stopServices stops them one after the other: the guests go first, and while
// they do the API still answers.
func stopServices(list []*supervise.Service) {
	for _, s := range list {
		s.Stop()
	}
}
