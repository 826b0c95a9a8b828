package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Lease is what a DHCP server gave.
type Lease struct {
	Addr   net.IPNet
	Router net.IP // nil: none
	DNS    []net.IP
	Domain string
	// Duration is the lease's, Renew the time after which to ask for more.
	Duration, Renew time.Duration

	raw *nclient4.Lease
}

// defaultLease holds where a server gives no time.
const defaultLease = time.Hour

func newLease(raw *nclient4.Lease) (*Lease, error) {
	ack := raw.ACK
	l := &Lease{
		Addr: net.IPNet{IP: ack.YourIPAddr, Mask: ack.SubnetMask()},
		DNS:  ack.DNS(), Domain: ack.DomainName(),
		Duration: ack.IPAddressLeaseTime(defaultLease),
		raw:      raw,
	}
	if l.Addr.IP.To4() == nil || l.Addr.IP.IsUnspecified() {
		return nil, fmt.Errorf("DHCP server %v gave the address %v", ack.ServerIdentifier(), l.Addr.IP)
	}
	if l.Addr.Mask == nil {
		l.Addr.Mask = l.Addr.IP.DefaultMask()
	}
	// What netlink can not represent it panics on, and this is PID 1.
	if ones, bits := l.Addr.Mask.Size(); bits != 32 || ones == 0 || l.Addr.IP.To4()[0] == 0 || !l.Addr.IP.IsGlobalUnicast() || l.Addr.IP.To4()[0] >= 224 {
		return nil, fmt.Errorf("DHCP server %v gave the address %v with the mask %v", ack.ServerIdentifier(), l.Addr.IP, l.Addr.Mask)
	}
	if routers := ack.Router(); len(routers) > 0 {
		l.Router = routers[0]
	}
	if l.Duration < time.Minute {
		l.Duration = time.Minute // a hostile or broken server must not keep us busy
	}
	if l.Renew = ack.IPAddressRenewalTime(l.Duration / 2); l.Renew <= 0 || l.Renew >= l.Duration {
		l.Renew = l.Duration / 2
	}
	return l, nil
}

func (l *Lease) String() string {
	s := l.Addr.String()
	if l.Router != nil {
		s += " via " + l.Router.String()
	}
	return s
}

// request asks for a lease on the interface until it has one or ctx ends.
func request(ctx context.Context, iface string) (*Lease, error) {
	for {
		c, err := nclient4.New(iface, nclient4.WithTimeout(time.Second), nclient4.WithRetry(4))
		if err != nil {
			return nil, fmt.Errorf("DHCP on %s: %w", iface, err)
		}
		raw, err := c.Request(ctx, dhcpv4.WithRequestedOptions(dhcpv4.OptionDomainName, dhcpv4.OptionDomainNameServer,
			dhcpv4.OptionRouter, dhcpv4.OptionSubnetMask))
		c.Close()
		if err == nil {
			return newLease(raw)
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("DHCP on %s: no lease: %w", iface, err)
		}
		if !sleep(ctx, time.Second) { // some errors come at once
			return nil, fmt.Errorf("DHCP on %s: no lease: %w", iface, err)
		}
	}
}

// renew asks for the lease to go on. A refusal is an *nclient4.ErrNak.
func (l *Lease) renew(ctx context.Context, iface string) (*Lease, error) {
	c, err := nclient4.New(iface, nclient4.WithTimeout(2*time.Second), nclient4.WithRetry(2))
	if err != nil {
		return nil, fmt.Errorf("DHCP on %s: %w", iface, err)
	}
	defer c.Close()
	raw, err := c.Renew(ctx, l.raw)
	if err != nil {
		return nil, fmt.Errorf("DHCP on %s: renew %v: %w", iface, l, err)
	}
	return newLease(raw)
}

// apply gives the interface the lease's address, and no other IPv4 address, and
// sets the default route. The kernel drops the address when the lease is over.
func (l *Lease) apply(iface string) error {
	link, err := netlink.LinkByName(iface)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", iface, err)
	}
	if err := flush(link, l.Addr.IP); err != nil {
		return err
	}
	secs := int(l.Duration / time.Second)
	addr := &netlink.Addr{IPNet: &l.Addr, ValidLft: secs, PreferedLft: secs}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("add %v to %s: %w", addr.IPNet, iface, err)
	}
	if l.Router == nil {
		return nil
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: l.Router}
	if !l.Addr.Contains(l.Router) {
		route.Flags = int(netlink.FLAG_ONLINK)
	}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("route by way of %v on %s: %w", l.Router, iface, err)
	}
	return nil
}

// flush removes the link's IPv4 addresses but keep, which may be nil. Routes
// that need them go along.
func flush(link netlink.Link, keep net.IP) error {
	addrs, err := netlink.AddrList(link, unix.AF_INET)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", link.Attrs().Name, err)
	}
	for _, a := range addrs {
		if a.IP.Equal(keep) {
			continue
		}
		if err := netlink.AddrDel(link, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("remove %v from %s: %w", a.IPNet, link.Attrs().Name, err)
		}
	}
	return nil
}

// resolvConf gives the lease's resolv.conf(5).
func (l *Lease) resolvConf() string {
	var b strings.Builder
	// A server may put anything into the option: only a name gets into the file.
	if l.Domain != "" && strings.Trim(l.Domain, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == "" {
		fmt.Fprintf(&b, "search %s\n", l.Domain)
	}
	for _, ip := range l.DNS {
		fmt.Fprintf(&b, "nameserver %s\n", ip)
	}
	return b.String()
}

// writeFile replaces the file at once, for readers that come in between.
func writeFile(path, text string) error {
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
