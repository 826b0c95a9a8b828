package network

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

func ack(t testing.TB, modifiers ...dhcpv4.Modifier) *nclient4.Lease {
	t.Helper()
	p, err := dhcpv4.New(modifiers...)
	if err != nil {
		t.Fatal(err)
	}
	return &nclient4.Lease{ACK: p}
}

func TestNewLease(t *testing.T) {
	l, err := newLease(ack(t,
		dhcpv4.WithYourIP(net.IPv4(10, 0, 2, 15)),
		dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
		dhcpv4.WithRouter(net.IPv4(10, 0, 2, 2)),
		dhcpv4.WithDNS(net.IPv4(10, 0, 2, 3)),
		dhcpv4.WithOption(dhcpv4.OptDomainName("example.org")),
		dhcpv4.WithLeaseTime(86400)))
	if err != nil {
		t.Fatalf("newLease = %v", err)
	}
	if got, want := l.String(), "10.0.2.15/24 via 10.0.2.2"; got != want {
		t.Errorf("lease = %s; want %s", got, want)
	}
	if l.Duration != 24*time.Hour || l.Renew != 12*time.Hour {
		t.Errorf("duration, renew = %v, %v; want 24h, 12h", l.Duration, l.Renew)
	}
	if got, want := l.resolvConf(), "search example.org\nnameserver 10.0.2.3\n"; got != want {
		t.Errorf("resolv.conf = %q; want %q", got, want)
	}
}

// A DHCP server is not trusted: what it leaves out or makes up must do no harm.
func TestNewLeaseOdd(t *testing.T) {
	if l, err := newLease(ack(t)); err == nil {
		t.Errorf("newLease without an address = %v; want an error", l)
	}
	for _, c := range []struct {
		ip   net.IP
		mask net.IPMask
	}{
		{net.IPv4(10, 0, 2, 15), net.IPv4Mask(255, 0, 255, 0)}, // not contiguous: netlink panics on it
		{net.IPv4(10, 0, 2, 15), net.IPv4Mask(0, 0, 0, 0)},
		{net.IPv4(224, 0, 0, 1), net.IPv4Mask(255, 255, 255, 0)},
		{net.IPv4(127, 0, 0, 1), net.IPv4Mask(255, 0, 0, 0)},
		{net.IPv4bcast, nil},
	} {
		mods := []dhcpv4.Modifier{dhcpv4.WithYourIP(c.ip)}
		if c.mask != nil {
			mods = append(mods, dhcpv4.WithNetmask(c.mask))
		}
		if l, err := newLease(ack(t, mods...)); err == nil {
			t.Errorf("newLease with %v mask %v = %v; want an error", c.ip, c.mask, l)
		}
	}
	l, err := newLease(ack(t, dhcpv4.WithYourIP(net.IPv4(10, 0, 2, 15)), dhcpv4.WithLeaseTime(1),
		dhcpv4.WithGeneric(dhcpv4.OptionRenewTimeValue, []byte{0, 0, 0, 0}),
		dhcpv4.WithOption(dhcpv4.OptDomainName("x\nnameserver 6.6.6.6"))))
	if err != nil {
		t.Fatalf("newLease = %v", err)
	}
	if got, want := l.String(), "10.0.2.15/8"; got != want {
		t.Errorf("lease without mask and router = %s; want %s", got, want)
	}
	if l.Duration < time.Minute || l.Renew < 30*time.Second {
		t.Errorf("duration, renew = %v, %v; want at least 1m, 30s", l.Duration, l.Renew)
	}
	if got := l.resolvConf(); got != "" {
		t.Errorf("resolv.conf = %q; want nothing of the forged domain", got)
	}
}

func TestRetryDelay(t *testing.T) {
	for _, tt := range []struct{ left, want time.Duration }{
		{12 * time.Hour, 6 * time.Hour}, {90 * time.Second, time.Minute}, {30 * time.Second, 30 * time.Second},
	} {
		if got := retryDelay(tt.left); got != tt.want {
			t.Errorf("retryDelay(%v) = %v; want %v", tt.left, got, tt.want)
		}
	}
}

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	for _, text := range []string{"nameserver 10.0.2.3\n", ""} {
		if err := writeFile(path, text); err != nil {
			t.Fatalf("writeFile = %v", err)
		}
		if got, _ := os.ReadFile(path); string(got) != text {
			t.Errorf("file = %q; want %q", got, text)
		}
	}
}

func FuzzLease(f *testing.F) {
	l := ack(f, dhcpv4.WithYourIP(net.IPv4(10, 0, 2, 15)), dhcpv4.WithRouter(net.IPv4(10, 0, 2, 2)), dhcpv4.WithLeaseTime(1))
	f.Add(l.ACK.ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		l, err := newLease(&nclient4.Lease{ACK: p})
		if err != nil {
			return
		}
		if l.Renew <= 0 || l.Renew >= l.Duration || l.Addr.Mask == nil {
			t.Errorf("newLease(%x) = %+v; want 0 < renew < duration, and a mask", b, l)
		}
	})
}
