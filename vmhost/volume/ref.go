// Package volume prepares what a VM's disks are made of: it reads volume names,
// mounts NFS directories under a VM's label and checks that they carry it, opens
// disk files as the identity that the NFS server knows, keeps two VMs out of one
// directory, and labels the node's own read-only files while they are in use.
//
// It does not choose labels, knows no image format and starts no program: that
// is vmhost's, which also decides in which mount namespace all this happens.
package volume

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"casemate/vmhost/spec"
)

const (
	nameMax = 255  // NAME_MAX, bytes of a path element
	pathMax = 4095 // PATH_MAX without its NUL
)

// Ref is a volume name in canonical form: two names of one file are equal Refs,
// as far as that can be told without asking the network.
type Ref struct {
	// Server is a lower-case host name or a canonical IP address (IPv6 without
	// brackets); empty for a local file.
	Server string
	Port   uint16
	Dir    string // absolute and clean, such as /exports/web-1; never /
	File   string // one path element
}

// Parse reads nfs://host[:port]/export/dir/file or local/NAME. The grammar is
// spec.ParseVolume's; beyond it Parse refuses what is too long for the kernel
// and host names with two readings, such as 127.1.
func Parse(s string) (Ref, error) {
	v, err := spec.ParseVolume(s)
	if err != nil {
		return Ref{}, err
	}
	r := Ref{Port: v.Port, Dir: v.Dir, File: v.FileName()}
	if v.IsNFS() {
		if r.Server, err = canonicalServer(v.Host); err != nil {
			return Ref{}, fmt.Errorf("volume %q: %w", s, err)
		}
	}
	if err := checkPath(r.Dir, r.File); err != nil {
		return Ref{}, fmt.Errorf("volume %q: %w", s, err)
	}
	return r, nil
}

// Local tells the node's own files (local/NAME) from NFS.
func (r Ref) Local() bool { return r.Server == "" }

// String is a name that Parse reads back.
func (r Ref) String() string {
	v := spec.Volume{Local: r.File}
	if !r.Local() {
		v = spec.Volume{Host: r.Server, Port: r.Port, Dir: r.Dir, File: r.File}
	}
	return v.String()
}

// dnsName is a host name of RFC 1123, with underscores; no empty labels.
var dnsName = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$`)

func canonicalServer(host string) (string, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() {
			return "", fmt.Errorf("address %s is no server's", host)
		}
		return ip.Unmap().String(), nil
	}
	name := strings.ToLower(host)
	if len(name) > 253 || !dnsName.MatchString(name) {
		return "", fmt.Errorf("%q is no host name", host)
	}
	// Resolvers read 127.1, 2130706433 and 0x7f.1 as addresses.
	last := name[strings.LastIndexByte(name, '.')+1:]
	if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return "", fmt.Errorf("host name %q looks like an address: write it as four numbers", host)
	}
	return name, nil
}

// checkPath holds dir and file to what the kernel and the mount data take. Most
// of it spec's grammar ensures too; here it guards mount(2).
func checkPath(dir, file string) error {
	full := dir
	if file != "" {
		full = strings.TrimSuffix(dir, "/") + "/" + file
	}
	if len(full) > pathMax {
		return fmt.Errorf("path is longer than %d bytes", pathMax)
	}
	for _, e := range strings.Split(strings.TrimPrefix(full, "/"), "/") {
		switch {
		case e == "" || e == "." || e == "..":
			return fmt.Errorf("path element %q", e)
		case len(e) > nameMax:
			return fmt.Errorf("path element %.20q... is longer than %d bytes", e, nameMax)
		case strings.ContainsFunc(e, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`,"'\`, r) }):
			return fmt.Errorf("path element %q has a character that cannot be in a volume's name", e)
		}
	}
	return nil
}

// Directory is one directory on one NFS server: what is mounted, held, made.
type Directory struct {
	Server string `json:"server"` // as in Ref
	// Addr is where the server was found: it is resolved once, so that the
	// address that was checked is the one that is mounted.
	Addr netip.AddrPort `json:"addr"`
	Path string         `json:"path"`
}

// String is the volume name without the file.
func (d Directory) String() string {
	return spec.Volume{Host: d.Server, Port: d.Addr.Port(), Dir: d.Path}.String()
}

func (d Directory) check() error {
	if a := d.Addr.Addr(); !d.Addr.IsValid() || d.Addr.Port() == 0 || a.Zone() != "" || a != a.Unmap() {
		return fmt.Errorf("%s: no valid server address %s", d, d.Addr)
	}
	if s, err := canonicalServer(d.Server); err != nil || s != d.Server {
		return fmt.Errorf("server %q is not in canonical form", d.Server)
	}
	if !strings.HasPrefix(d.Path, "/") {
		return fmt.Errorf("directory %q is not absolute", d.Path)
	}
	if d.Path == "/" { // MakeDirs may get there
		return nil
	}
	if err := checkPath(d.Path, ""); err != nil {
		return fmt.Errorf("directory %q: %w", d.Path, err)
	}
	return nil
}

// Resolve finds the address of r's server. Of several it takes the least, IPv4
// first: the same one each time, or Holders could be evaded by asking again.
func (r Ref) Resolve(ctx context.Context) (Directory, error) {
	if r.Local() {
		return Directory{}, fmt.Errorf("volume %s is not on NFS", r)
	}
	d := Directory{Server: r.Server, Path: r.Dir}
	if ip, err := netip.ParseAddr(r.Server); err == nil {
		d.Addr = netip.AddrPortFrom(ip, r.Port)
		return d, nil
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", r.Server)
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	ips = slices.DeleteFunc(ips, func(ip netip.Addr) bool { return ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() })
	if err == nil && len(ips) == 0 {
		err = errors.New("no usable address")
	}
	if err != nil {
		return Directory{}, fmt.Errorf("volume %s: find server %s: %w", r, r.Server, err)
	}
	d.Addr = netip.AddrPortFrom(slices.MinFunc(ips, netip.Addr.Compare), r.Port) // Compare puts IPv4 first
	return d, nil
}
