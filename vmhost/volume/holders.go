package volume

import (
	"fmt"
	"path"
	"sync"
	"time"
)

// Holders knows which owner holds which NFS directory. Two owners never hold
// the same one, nor one inside the other: mounted under two labels, it would be
// no isolation.
//
// A server is known by its name and by its address, so an alias of a name does
// not help. A server with several addresses, or with one export on two ports,
// is several servers to Holders: name it one way in all documents.
type Holders struct {
	mu sync.Mutex
	// held has each directory under both of its places, name and address.
	held map[place]held
	// inside has, for each directory above a held one, those held below it: so
	// the cost of Acquire depends on the depth of the path only.
	inside map[place]map[place]bool
	owned  map[string][]place
	now    func() time.Time
}

// place is a directory of a server under one of its names.
type place struct {
	server string // name or address
	port   uint16
	path   string
}

type held struct {
	dir   Directory
	owner string
	since time.Time
}

// HeldError refuses a directory because somebody else has it.
type HeldError struct {
	Wanted, Held Directory
	Owner        string
	Since        time.Time
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("%s: directory %s is held by %s since %s: stop that first, or use a directory outside of it",
		e.Wanted, e.Held, e.Owner, e.Since.UTC().Format(time.RFC3339))
}

// NewHolders makes an empty registry.
func NewHolders() *Holders {
	return &Holders{
		held:   make(map[place]held),
		inside: make(map[place]map[place]bool),
		owned:  make(map[string][]place),
		now:    time.Now,
	}
}

// Acquire takes all of dirs for owner (words for people, such as "VM web-1"), or
// none and returns a *HeldError. What owner holds already is not in its way.
func (h *Holders) Acquire(owner string, dirs ...Directory) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range dirs {
		for _, p := range d.places() {
			if by, ok := h.conflict(owner, p); ok {
				return &HeldError{Wanted: d, Held: by.dir, Owner: by.owner, Since: by.since}
			}
		}
	}
	now := h.now()
	for _, d := range dirs {
		for _, p := range d.places() {
			if _, ok := h.held[p]; ok {
				continue
			}
			h.held[p] = held{dir: d, owner: owner, since: now}
			h.owned[owner] = append(h.owned[owner], p)
			for up := range p.above {
				if h.inside[up] == nil {
					h.inside[up] = make(map[place]bool)
				}
				h.inside[up][p] = true
			}
		}
	}
	return nil
}

// Release gives back all that owner holds.
func (h *Holders) Release(owner string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.owned[owner] {
		delete(h.held, p)
		for up := range p.above {
			if delete(h.inside[up], p); len(h.inside[up]) == 0 {
				delete(h.inside, up)
			}
		}
	}
	delete(h.owned, owner)
}

// conflict finds a directory of somebody else that is p, above p or below p.
func (h *Holders) conflict(owner string, p place) (held, bool) {
	if by, ok := h.held[p]; ok && by.owner != owner {
		return by, true
	}
	for up := range p.above {
		if by, ok := h.held[up]; ok && by.owner != owner {
			return by, true
		}
	}
	for below := range h.inside[p] {
		if by := h.held[below]; by.owner != owner {
			return by, true
		}
	}
	return held{}, false
}

// places gives d under its server's name and address.
func (d Directory) places() []place {
	p := []place{{d.Server, d.Addr.Port(), d.Path}}
	if a := d.Addr.Addr().Unmap(); a.IsValid() && a.String() != d.Server {
		p = append(p, place{a.String(), d.Addr.Port(), d.Path})
	}
	return p
}

// above yields the directories above p, up to /.
func (p place) above(yield func(place) bool) {
	for p.path != "/" && p.path != "." {
		p.path = path.Dir(p.path)
		if !yield(p) {
			return
		}
	}
}
