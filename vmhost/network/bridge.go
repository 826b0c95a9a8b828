package network

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// ListBridges gives the names of the bridges, sorted.
func ListBridges() ([]string, error) {
	links, err := bridges()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, l := range links {
		names = append(names, l.Attrs().Name)
	}
	slices.Sort(names)
	return names, nil
}

func findBridge(name string) (netlink.Link, error) {
	links, err := bridges()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, l := range links {
		if l.Attrs().Name == name {
			return l, nil
		}
		names = append(names, l.Attrs().Name)
	}
	slices.Sort(names)
	there := "this node has none: its configuration makes them (network.bridges)"
	if len(names) > 0 {
		there = "there are " + strings.Join(names, ", ")
	}
	return nil, fmt.Errorf("no bridge %q: %s", name, there)
}

func bridges() ([]netlink.Link, error) {
	links, err := netlink.LinkList()
	// An interface that comes or goes meanwhile spoils the list.
	for try := 0; errors.Is(err, netlink.ErrDumpInterrupted) && try < 5; try++ {
		links, err = netlink.LinkList()
	}
	if err != nil {
		return nil, fmt.Errorf("list network links: %w", err)
	}
	return slices.DeleteFunc(links, func(l netlink.Link) bool { return l.Type() != "bridge" }), nil
}
