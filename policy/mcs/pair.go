// Package mcs allocates MCS category pairs: each VM of a node gets two of 1,024
// categories that no other VM holds. It knows nothing of processes or files;
// whoever labels them asks here for the level.
package mcs

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Categories is how many categories the policy declares: c0 to c1023.
const Categories = 1024

// Pairs is the number of unordered pairs of different categories.
const Pairs = Categories * (Categories - 1) / 2

// Pair is two different categories with Low < High. The zero value is no pair.
type Pair struct{ Low, High uint16 }

// NewPair puts two categories in order. It refuses equal ones and those that
// the policy does not have.
func NewPair(a, b int) (Pair, error) {
	if a < 0 || b < 0 || a >= Categories || b >= Categories {
		return Pair{}, fmt.Errorf("categories c%d,c%d: want c0 to c%d", a, b, Categories-1)
	}
	if a == b {
		return Pair{}, fmt.Errorf("categories c%d,c%d: a pair needs two different ones", a, b)
	}
	return Pair{uint16(min(a, b)), uint16(max(a, b))}, nil
}

// String gives the pair as in a level, such as "c5,c12". Neighbours are
// "c5,c6": the kernel prints a range with a dot only from three on.
func (p Pair) String() string { return fmt.Sprintf("c%d,c%d", p.Low, p.High) }

// Level gives the MCS level of the pair, such as "s0:c5,c12".
func (p Pair) Level() string { return "s0:" + p.String() }

// ParseLevel reads "s0:c12,c5" in either order and gives the pair. Ranges and
// any other number of categories are refused.
func ParseLevel(s string) (Pair, error) {
	cats, ok := strings.CutPrefix(s, "s0:")
	if !ok {
		return Pair{}, fmt.Errorf("level %q: want s0:cA,cB", s)
	}
	a, b, ok := strings.Cut(cats, ",")
	if !ok {
		return Pair{}, fmt.Errorf("level %q: want exactly two categories, s0:cA,cB", s)
	}
	x, err := parseCategory(a)
	if err != nil {
		return Pair{}, fmt.Errorf("level %q: %w", s, err)
	}
	y, err := parseCategory(b)
	if err != nil {
		return Pair{}, fmt.Errorf("level %q: %w", s, err)
	}
	p, err := NewPair(x, y)
	if err != nil {
		return Pair{}, fmt.Errorf("level %q: %w", s, err)
	}
	return p, nil
}

// parseCategory reads "c17"; leading zeros and signs are refused, so that one
// category has one spelling.
func parseCategory(s string) (int, error) {
	num, ok := strings.CutPrefix(s, "c")
	n, err := strconv.Atoi(num)
	if !ok || err != nil || strconv.Itoa(n) != num {
		return 0, fmt.Errorf("category %q: want c0 to c%d", s, Categories-1)
	}
	return n, nil
}

// index numbers the pairs 0 to Pairs-1, in order of High, then Low.
func (p Pair) index() uint32 { return uint32(p.High)*(uint32(p.High)-1)/2 + uint32(p.Low) }

// pairAt is the inverse of index.
func pairAt(i uint32) Pair {
	h := uint32((1 + math.Sqrt(float64(1+8*uint64(i)))) / 2)
	return Pair{Low: uint16(i - h*(h-1)/2), High: uint16(h)}
}
