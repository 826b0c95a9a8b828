package volume

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func dir(server, addr, path string) Directory {
	return Directory{Server: server, Addr: netip.MustParseAddrPort(addr), Path: path}
}

func TestHolders(t *testing.T) {
	const a = "10.0.0.1:2049"
	for _, tt := range []struct {
		name      string
		held, ask Directory
		refused   bool
	}{
		{"same", dir("filer", a, "/e/web-1"), dir("filer", a, "/e/web-1"), true},
		{"inside", dir("filer", a, "/e/web-1"), dir("filer", a, "/e/web-1/x/y"), true},
		{"around", dir("filer", a, "/e/web-1/x"), dir("filer", a, "/e"), true},
		{"root around", dir("filer", a, "/e/web-1/x"), dir("filer", a, "/"), true},
		{"beside", dir("filer", a, "/e/web-1"), dir("filer", a, "/e/web-2"), false},
		{"same beginning", dir("filer", a, "/e/web-1"), dir("filer", a, "/e/web-10"), false},
		{"by address", dir("filer", a, "/e/web-1"), dir("10.0.0.1", a, "/e/web-1"), true},
		{"by alias", dir("filer", a, "/e/web-1"), dir("nas", a, "/e/web-1/x"), true},
		{"server moved", dir("filer", a, "/e/web-1"), dir("filer", "10.0.0.9:2049", "/e/web-1"), true},
		{"other server", dir("filer", a, "/e/web-1"), dir("nas", "10.0.0.2:2049", "/e/web-1"), false},
		{"other port", dir("filer", a, "/e/web-1"), dir("filer", "10.0.0.1:2050", "/e/web-1"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := NewHolders()
			since := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
			h.now = func() time.Time { return since }
			if err := h.Acquire("VM web-1", tt.held, tt.held); err != nil {
				t.Fatal(err)
			}
			if err := h.Acquire("VM web-1", tt.held, tt.ask); err != nil {
				t.Errorf("Acquire(%s) by the same owner = %v", tt.ask, err)
			}
			h.Release("VM web-1")
			if err := h.Acquire("VM web-1", tt.held); err != nil {
				t.Fatalf("Acquire after Release = %v", err)
			}

			free := dir("free", "10.0.0.8:2049", "/e")
			err := h.Acquire("VM db", free, tt.ask)
			var he *HeldError
			if !tt.refused {
				if err != nil {
					t.Errorf("Acquire(%s) beside %s = %v", tt.ask, tt.held, err)
				}
				return
			}
			if !errors.As(err, &he) || he.Owner != "VM web-1" || he.Held != tt.held || !he.Since.Equal(since) {
				t.Fatalf("Acquire(%s) beside %s = %v; want *HeldError with VM web-1", tt.ask, tt.held, err)
			}
			if s := err.Error(); !strings.Contains(s, "VM web-1 since 2026-11-21T12:00:00Z") {
				t.Errorf("error %q does not say who holds it since when", s)
			}
			// All or none: the first of the two was not kept.
			if err := h.Acquire("VM other", free); err != nil {
				t.Errorf("Acquire(%s) after a refusal = %v", free, err)
			}
			h.Release("VM web-1")
			h.Release("VM other")
			if err := h.Acquire("VM db", free, tt.ask); err != nil {
				t.Errorf("Acquire after Release = %v", err)
			}
			h.Release("VM db")
			if n := len(h.held) + len(h.inside) + len(h.owned); n != 0 {
				t.Errorf("%d entries are left when nobody holds anything", n)
			}
		})
	}
}

// BenchmarkAcquire shows that the cost does not grow with the number of VMs.
func BenchmarkAcquire(b *testing.B) {
	for _, n := range []int{100, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := NewHolders()
			for i := range n {
				if err := h.Acquire(fmt.Sprint("VM ", i), dir("filer", "10.0.0.1:2049", fmt.Sprintf("/e/vm-%d", i))); err != nil {
					b.Fatal(err)
				}
			}
			d := dir("filer", "10.0.0.1:2049", "/e/new")
			for b.Loop() {
				if err := h.Acquire("VM new", d); err != nil {
					b.Fatal(err)
				}
				h.Release("VM new")
			}
		})
	}
}
