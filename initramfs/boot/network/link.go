package network

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// loopbackUp brings lo up; it has its addresses by itself.
func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find interface lo: %w", err)
	}
	return linkUp(lo)
}

func linkUp(link netlink.Link) error {
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring up interface %s: %w", link.Attrs().Name, err)
	}
	return nil
}

// firstWithLink brings every NIC up, as it appears, and gives the name of the
// first that has a link. It waits for the kernel's messages, and polls nothing.
func firstWithLink(ctx context.Context) (string, error) {
	done := make(chan struct{})
	defer close(done)
	updates := make(chan netlink.LinkUpdate, 64)
	failed := make(chan error, 1)
	err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{
		ListExisting: true,
		ErrorCallback: func(err error) {
			select {
			case failed <- err:
			default:
			}
		},
	})
	if err != nil {
		return "", fmt.Errorf("listen for network links: %w", err)
	}
	seen := map[string]bool{}
	var down []error // why NICs did not come up
	for {
		select {
		case <-ctx.Done():
			if len(seen) == 0 {
				return "", fmt.Errorf("no NIC found: %w", ctx.Err())
			}
			return "", errors.Join(append(down, fmt.Errorf("no NIC has a link, of %v: %w", keys(seen), ctx.Err()))...)
		case err := <-failed:
			return "", fmt.Errorf("listen for network links: %w", err)
		case u := <-updates:
			a := u.Attrs()
			if u.Header.Type != unix.RTM_NEWLINK || !physical(a.Name) {
				continue
			}
			if a.RawFlags&unix.IFF_LOWER_UP != 0 {
				return a.Name, nil
			}
			if !seen[a.Name] {
				seen[a.Name] = true
				if err := linkUp(u.Link); err != nil {
					down = append(down, err) // another one may do
				}
			}
		}
	}
}

// physical says whether the interface is a device's, and not made by software.
func physical(name string) bool {
	_, err := os.Stat("/sys/class/net/" + name + "/device")
	return err == nil
}

func keys(m map[string]bool) []string {
	var s []string
	for k := range m {
		s = append(s, k)
	}
	return s
}
