package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"golang.org/x/sys/unix"
)

// command is one verb of the console. run gets the words after the verb and
// returns the answer's text.
type command struct {
	args string // what help says
	n    int    // words needed; the last takes the rest of the line
	run  func(args []string) (string, error)
}

var commands map[string]command

func init() { // not a literal: help reads the table that it stands in
	commands = map[string]command{
		"write":    {"DEVICE OFFSET TEXT", 3, write},
		"read":     {"DEVICE OFFSET LENGTH", 3, read},
		"size":     {"DEVICE", 1, size},
		"ip":       {"(links and addresses)", 0, ip},
		"dhcp":     {"INTERFACE", 1, dhcp},
		"poweroff": {"", 0, func([]string) (string, error) { powerOff(); return "", nil }},
		"help":     {"", 0, help},
	}
}

// run executes one line and prints "VERB ok ANSWER" or "VERB error REASON".
func run(line string) {
	verb, rest, _ := strings.Cut(line, " ")
	c, ok := commands[verb]
	if !ok {
		say("%s error unknown command; try help", verb)
		return
	}
	var args []string
	if c.n > 0 {
		args = strings.SplitN(strings.TrimSpace(rest), " ", c.n)
	}
	if len(args) != c.n || c.n > 0 && args[0] == "" {
		say("%s error usage: %s %s", verb, verb, c.args)
		return
	}
	answer, err := c.run(args)
	if err != nil {
		say("%s error %v", verb, err)
		return
	}
	say("%s", strings.TrimSpace(verb+" ok "+answer))
}

func help([]string) (string, error) {
	var words []string
	for verb, c := range commands {
		words = append(words, strings.TrimSpace(verb+" "+c.args))
	}
	return strings.Join(words, "; "), nil
}

// write puts text on a disk and waits until it is there.
func write(args []string) (string, error) {
	off, err := strconv.ParseInt(args[1], 0, 64)
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile(args[0], os.O_WRONLY|unix.O_SYNC, 0)
	if err != nil {
		return "", err
	}
	n, err := f.WriteAt([]byte(args[2]), off)
	// The error of a write-back comes with close.
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d bytes at %d", n, off), nil
}

// read prints what is on a disk, quoted, without trailing zero bytes.
func read(args []string) (string, error) {
	off, err := strconv.ParseInt(args[1], 0, 64)
	if err != nil {
		return "", err
	}
	n, err := strconv.ParseUint(args[2], 0, 12)
	if err != nil {
		return "", err
	}
	f, err := os.Open(args[0])
	if err != nil {
		return "", err
	}
	defer f.Close()
	buf := make([]byte, n)
	if _, err := f.ReadAt(buf, off); err != nil {
		return "", err
	}
	return strconv.Quote(strings.TrimRight(string(buf), "\x00")), nil
}

// size prints a disk's size in bytes.
func size(args []string) (string, error) {
	f, err := os.Open(args[0])
	if err != nil {
		return "", err
	}
	defer f.Close()
	n, err := f.Seek(0, 2)
	return strconv.FormatInt(n, 10), err
}

// ip prints every interface but the loopback.
func ip([]string) (string, error) {
	ifs, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	var words []string
	for _, i := range ifs {
		if i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, _ := i.Addrs()
		words = append(words, fmt.Sprintf("%s mac=%s addresses=%v", i.Name, i.HardwareAddr, addrs))
	}
	return strings.Join(words, "; "), nil
}

// dhcp asks for an address and prints it. It does not configure the interface:
// that the answer came shows that the network carries packets both ways.
func dhcp(args []string) (string, error) {
	if err := linkUp(args[0]); err != nil {
		return "", fmt.Errorf("bring up %s: %w", args[0], err)
	}
	c, err := nclient4.New(args[0], nclient4.WithTimeout(2*time.Second), nclient4.WithRetry(5))
	if err != nil {
		return "", err
	}
	defer c.Close()
	lease, err := c.Request(context.Background())
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("address=%v server=%v", lease.ACK.YourIPAddr, lease.ACK.ServerIdentifier()), nil
}

// linkUp sets IFF_UP and does not wait for the carrier.
func linkUp(ifname string) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	req, err := unix.NewIfreq(ifname)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFFLAGS, req); err != nil {
		return err
	}
	req.SetUint16(req.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, req)
}
