package mcs

import (
	"strings"
	"testing"
	"time"
)

func TestIndexIsABijection(t *testing.T) {
	seen := make([]bool, Pairs)
	for h := 1; h < Categories; h++ {
		for l := 0; l < h; l++ {
			p := Pair{uint16(l), uint16(h)}
			i := p.index()
			if i >= Pairs || seen[i] {
				t.Fatalf("%v.index() = %d; want one of %d, once", p, i, Pairs)
			}
			seen[i] = true
			if q := pairAt(i); q != p {
				t.Fatalf("pairAt(%d) = %v; want %v", i, q, p)
			}
		}
	}
}

// Every pair is given out once, the last as quickly as the first; then the
// answer is an error, and rested pairs come back.
func TestAllocateToTheLast(t *testing.T) {
	now := time.Unix(0, 0)
	a := newAllocator(time.Minute, func() time.Time { return now })
	seen := map[Pair]bool{}
	name := func(i int) string { return string(rune('a'+i%26)) + time.Duration(i).String() }
	if err := a.Reserve("static", Pair{3, 9}); err != nil {
		t.Fatal(err)
	}
	seen[Pair{3, 9}] = true
	for i := 1; i < Pairs; i++ {
		p, err := a.Allocate(name(i))
		if err != nil {
			t.Fatalf("Allocate %d of %d: %v", i, Pairs, err)
		}
		if seen[p] || p.Low >= p.High {
			t.Fatalf("Allocate %d = %v; want a new ordered pair", i, p)
		}
		seen[p] = true
	}
	if _, err := a.Allocate("one-too-many"); err == nil || !strings.Contains(err.Error(), "no MCS category pair left") {
		t.Fatalf("Allocate with all in use = %v; want exhaustion", err)
	}
	freed := a.owners[name(77)]
	a.Release(name(77))
	if _, err := a.Allocate("too-early"); err == nil {
		t.Fatal("Allocate gave a pair that rests")
	}
	now = now.Add(time.Minute)
	if p, err := a.Allocate("after-rest"); err != nil || p != freed {
		t.Fatalf("Allocate after the rest = %v, %v; want %v", p, err, freed)
	}
}

func TestReserve(t *testing.T) {
	a := New()
	p, err := a.Allocate("a")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Reserve("b", p); err == nil || !strings.Contains(err.Error(), "held by a") {
		t.Errorf("Reserve of a's pair by b = %v; want refusal that names a", err)
	}
	if err := a.Reserve("a", p); err != nil {
		t.Errorf("Reserve of a's own pair = %v; want nil", err)
	}
	if q, _ := a.Allocate("a"); q != p {
		t.Errorf("Allocate again = %v; want %v", q, p)
	}
	a.Release("a")
	if err := a.Reserve("b", p); err != nil {
		t.Errorf("Reserve of a resting pair by name = %v; want nil", err)
	}
	a.Release("b")
	a.Release("nobody")
}

func TestParseLevel(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Pair
		bad  bool
	}{
		{in: "s0:c2,c5", want: Pair{2, 5}},
		{in: "s0:c5,c2", want: Pair{2, 5}},
		{in: "s0:c0,c1023", want: Pair{0, 1023}},
		{in: "s0:c7,c7", bad: true},
		{in: "s0:c1.c3", bad: true},
		{in: "s0:c1,c2,c3", bad: true},
		{in: "s0:c1,c1024", bad: true},
		{in: "s0:c01,c2", bad: true},
		{in: "s0:c+1,c2", bad: true},
		{in: "s1:c1,c2", bad: true},
		{in: "s0", bad: true},
		{in: "", bad: true},
	} {
		got, err := ParseLevel(c.in)
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("ParseLevel(%q) = %v, %v; want %v, error %v", c.in, got, err, c.want, c.bad)
		}
	}
}

func FuzzParseLevel(f *testing.F) {
	f.Add("s0:c5,c2")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseLevel(s)
		if err != nil {
			return
		}
		if q, err := ParseLevel(p.Level()); err != nil || q != p {
			t.Errorf("ParseLevel(%q) = %v; its own form %q gives %v, %v", s, p, p.Level(), q, err)
		}
	})
}

func BenchmarkAllocate(b *testing.B) {
	a := newAllocator(0, time.Now)
	for b.Loop() {
		if _, err := a.Allocate("vm"); err != nil {
			b.Fatal(err)
		}
		a.Release("vm")
	}
}
