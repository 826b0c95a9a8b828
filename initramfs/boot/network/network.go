// Package network connects the node: the first NIC with a link gets an address
// by DHCP and keeps it, and the node's bridges are made. Addresses other than
// DHCP's, IPv6, VLANs and bonds are not here yet, and taps are vmhostd's.
package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"casemate/vmhost/spec"

	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
)

// Network is the node's connection. Its methods may be called concurrently.
type Network struct {
	resolvConf string
	logf       func(format string, args ...any)

	mu     sync.Mutex
	uplink string // the NIC that was first to have a link
	iface  string // what has the address: the uplink, or the bridge that it is in
	lease  *Lease
}

// New gives a network that writes resolv.conf(5) to file resolvConf.
func New(resolvConf string, logf func(format string, args ...any)) *Network {
	return &Network{resolvConf: resolvConf, logf: logf}
}

// Connect waits for a NIC with a link and for its lease, or until ctx ends. Keep
// then keeps it.
func (n *Network) Connect(ctx context.Context) error {
	if err := loopbackUp(); err != nil {
		return err
	}
	iface, err := firstWithLink(ctx)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.uplink, n.iface = iface, iface
	n.mu.Unlock()
	lease, err := request(ctx, iface)
	if err != nil {
		return err
	}
	return n.use(lease)
}

// use applies a lease to the interface that has the address now.
func (n *Network) use(l *Lease) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lease == nil || n.lease.String() != l.String() {
		n.logf("network: %s %v", n.iface, l)
	}
	if err := l.apply(n.iface); err != nil {
		return err
	}
	n.lease = l
	return writeFile(n.resolvConf, l.resolvConf())
}

// Addr gives the node's address, or nil while it has none.
func (n *Network) Addr() net.IP {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lease == nil {
		return nil
	}
	return n.lease.Addr.IP
}

// Keep renews the lease until ctx ends. Without a lease it first gets one.
func (n *Network) Keep(ctx context.Context) {
	for ctx.Err() == nil {
		n.mu.Lock()
		lease, iface := n.lease, n.iface
		n.mu.Unlock()
		if lease == nil {
			if err := n.reconnect(ctx, iface); err != nil && ctx.Err() == nil {
				n.logf("%v", err)
				sleep(ctx, 5*time.Second) // some errors come at once
			}
			continue
		}
		if !sleep(ctx, lease.Renew) {
			return
		}
		if err := n.renewUntil(ctx, time.Now().Add(lease.Duration-lease.Renew)); err != nil && ctx.Err() == nil {
			n.logf("%v; asking for a new lease", err)
			n.mu.Lock()
			n.lease = nil
			n.mu.Unlock()
		}
	}
}

func (n *Network) reconnect(ctx context.Context, iface string) error {
	if iface == "" {
		return n.Connect(ctx)
	}
	lease, err := request(ctx, iface)
	if err != nil {
		return err
	}
	return n.use(lease)
}

// renewUntil renews the lease. It tries again, ever more often, until the lease
// is over or the server refuses.
func (n *Network) renewUntil(ctx context.Context, end time.Time) error {
	for {
		n.mu.Lock()
		lease, iface := n.lease, n.iface // the bridge may have taken over meanwhile
		n.mu.Unlock()
		renewed, err := lease.renew(ctx, iface)
		if err == nil {
			return n.use(renewed)
		}
		var nak *nclient4.ErrNak
		left := time.Until(end)
		if errors.As(err, &nak) || left <= 0 || ctx.Err() != nil {
			return err
		}
		if !sleep(ctx, retryDelay(left)) {
			return err
		}
	}
}

// retryDelay is RFC 2131's (4.4.5): half of the time that is left, at least a
// minute, but not beyond the end.
func retryDelay(left time.Duration) time.Duration {
	return min(max(left/2, time.Minute), left)
}

// sleep is false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Bridge makes a bridge. The uplink's address and routes move onto it, with its
// MAC address, so that DHCP goes on as if nothing had happened.
func (n *Network) Bridge(b spec.Bridge) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	uplink := b.Uplink
	switch uplink {
	case "none":
		uplink = ""
	case "", "auto":
		if n.uplink == "" {
			return fmt.Errorf("bridge %s: no NIC has had a link yet to be its uplink", b.Name)
		}
		uplink = n.uplink
	}
	bridge := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
	bridge.Name = b.Name
	var nic netlink.Link
	if uplink != "" {
		var err error
		if nic, err = netlink.LinkByName(uplink); err != nil {
			return fmt.Errorf("bridge %s: find uplink %s: %w", b.Name, uplink, err)
		}
		bridge.HardwareAddr = nic.Attrs().HardwareAddr
		bridge.MTU = nic.Attrs().MTU
	}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("make bridge %s: %w", b.Name, err)
	}
	if err := linkUp(bridge); err != nil {
		return err
	}
	if nic == nil {
		return nil
	}
	if err := flush(nic, nil); err != nil {
		return err
	}
	if err := linkUp(nic); err != nil {
		return err
	}
	if err := netlink.LinkSetMaster(nic, bridge); err != nil {
		err = fmt.Errorf("put %s into bridge %s: %w", uplink, b.Name, err)
		if uplink == n.uplink && n.lease != nil { // it keeps the address that it had
			err = errors.Join(err, n.lease.apply(uplink))
		}
		return err
	}
	if uplink != n.uplink {
		return nil
	}
	n.iface = b.Name
	if n.lease == nil {
		return nil
	}
	n.logf("network: %s moved from %s to bridge %s", n.lease.Addr.IP, uplink, b.Name)
	return n.lease.apply(b.Name)
}
