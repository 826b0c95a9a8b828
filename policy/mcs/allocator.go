package mcs

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Rest is how long a released pair is kept back. Something that still carries
// the old label (a file that was not restored, a process slow to die) must not
// meet a new VM with the same pair.
const Rest = 10 * time.Minute

// Allocator hands out pairs. Each takes constant time, down to the last one:
// a sparse Fisher-Yates shuffle, whose memory grows with the pairs in use and
// not with those that there are. Safe for concurrent use.
type Allocator struct {
	mu      sync.Mutex
	now     func() time.Time
	rest    time.Duration
	free    uint32            // positions [0, free) hold the free pairs
	at      map[uint32]uint32 // position -> index of pair, where they differ
	where   map[uint32]uint32 // index of pair -> position, where they differ
	owners  map[string]Pair
	holders map[Pair]string
	resting []rested // in order of release
}

type rested struct {
	pair Pair
	at   time.Time
}

// New gives an allocator over all pairs, none in use.
func New() *Allocator { return newAllocator(Rest, time.Now) }

func newAllocator(rest time.Duration, now func() time.Time) *Allocator {
	return &Allocator{
		now: now, rest: rest, free: Pairs,
		at: map[uint32]uint32{}, where: map[uint32]uint32{},
		owners: map[string]Pair{}, holders: map[Pair]string{},
	}
}

// Allocate gives owner a random pair that nobody holds, or the one that owner
// already holds. When all pairs are held or resting it says so.
func (a *Allocator) Allocate(owner string) (Pair, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p, ok := a.owners[owner]; ok {
		return p, nil
	}
	a.wake()
	if a.free == 0 {
		return Pair{}, fmt.Errorf("no MCS category pair left: %d in use, %d resting for up to %v after release", len(a.holders), len(a.resting), a.rest)
	}
	p := pairAt(a.indexAt(rand.Uint32N(a.free)))
	a.take(p)
	a.own(owner, p)
	return p, nil
}

// Reserve gives owner the pair p: a static label, or that of a VM that was
// running before this process started. A pair that another holds is refused,
// a resting one is not: who names a pair has a reason.
func (a *Allocator) Reserve(owner string, p Pair) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if h, ok := a.holders[p]; ok {
		if h == owner {
			return nil
		}
		return fmt.Errorf("MCS pair %s: held by %s", p, h)
	}
	if q, ok := a.owners[owner]; ok {
		return fmt.Errorf("MCS pair %s for %s: it already holds %s", p, owner, q)
	}
	for i, r := range a.resting {
		if r.pair == p {
			a.resting = append(a.resting[:i], a.resting[i+1:]...)
			a.own(owner, p)
			return nil
		}
	}
	a.take(p)
	a.own(owner, p)
	return nil
}

// Release takes the pair back from owner and lets it rest. An owner without a
// pair is no error.
func (a *Allocator) Release(owner string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.owners[owner]
	if !ok {
		return
	}
	delete(a.owners, owner)
	delete(a.holders, p)
	a.resting = append(a.resting, rested{p, a.now()})
}

func (a *Allocator) own(owner string, p Pair) {
	a.owners[owner] = p
	a.holders[p] = owner
}

// wake puts the pairs that have rested back among the free ones.
func (a *Allocator) wake() {
	for len(a.resting) > 0 && a.now().Sub(a.resting[0].at) >= a.rest {
		// The pair sits somewhere in [free, Pairs): swap it with the first
		// pair there, which is in use, and move the border past it.
		a.swap(a.position(a.resting[0].pair.index()), a.free)
		a.free++
		a.resting = a.resting[1:]
	}
}

// take moves a free pair behind the border.
func (a *Allocator) take(p Pair) {
	a.free--
	a.swap(a.position(p.index()), a.free)
}

func (a *Allocator) indexAt(pos uint32) uint32 {
	if i, ok := a.at[pos]; ok {
		return i
	}
	return pos
}

func (a *Allocator) position(index uint32) uint32 {
	if pos, ok := a.where[index]; ok {
		return pos
	}
	return index
}

func (a *Allocator) swap(x, y uint32) {
	i, j := a.indexAt(x), a.indexAt(y)
	a.place(x, j)
	a.place(y, i)
}

// place puts the pair with this index at pos and forgets entries that say
// nothing, so that the maps stay as small as the pairs in use.
func (a *Allocator) place(pos, index uint32) {
	if pos == index {
		delete(a.at, pos)
		delete(a.where, index)
		return
	}
	a.at[pos] = index
	a.where[index] = pos
}
