package spec

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// DefaultNFSPort is NFSv4's.
const DefaultNFSPort = 2049

// Volume is a parsed volume name: either Local is set, or Host, Port, Dir and File.
type Volume struct {
	Local string // file name in the node's media directory
	Host  string // name or address, IPv6 without brackets
	Port  uint16
	Dir   string // absolute and clean, such as /exports/web-1
	File  string // one path element
}

var (
	// Path elements that mean the same to a mount, a shell and a label. No comma,
	// quote, blank or backslash: names go into mount options and logs.
	pathElement = regexp.MustCompile(`^[A-Za-z0-9_@+~=][A-Za-z0-9._@+~=-]{0,254}$`)
	hostName    = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$`)
)

// ParseVolume reads nfs://host[:port]/export/dir/file or local/NAME.
func ParseVolume(name string) (Volume, error) {
	if local, ok := strings.CutPrefix(name, "local/"); ok {
		if !pathElement.MatchString(local) {
			return Volume{}, fmt.Errorf("volume %q: want local/NAME with a NAME of letters, digits and ._@+~=-", name)
		}
		return Volume{Local: local}, nil
	}
	if !strings.HasPrefix(name, "nfs://") {
		return Volume{}, fmt.Errorf("volume %q: want nfs://host[:port]/export/dir/file or local/NAME", name)
	}
	v, err := parseNFS(name)
	if err != nil {
		return Volume{}, fmt.Errorf("volume %q: %w", name, err)
	}
	return v, nil
}

func parseNFS(name string) (Volume, error) {
	u, err := url.Parse(name)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return Volume{}, err
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.ContainsAny(name, "%#") {
		return Volume{}, errors.New("no user, query, fragment or percent escape is understood")
	}
	host := u.Hostname()
	if !hostName.MatchString(host) && net.ParseIP(host) == nil {
		return Volume{}, errors.New("no valid host name or address")
	}
	port := uint64(DefaultNFSPort)
	if p := u.Port(); p != "" {
		if port, err = strconv.ParseUint(p, 10, 16); err != nil || port == 0 {
			return Volume{}, errors.New("port is not between 1 and 65535")
		}
	}
	elements := strings.Split(strings.TrimPrefix(u.Path, "/"), "/")
	if len(elements) < 2 {
		return Volume{}, errors.New("want a directory and a file after the host, as in nfs://filer/export/disk.qcow2")
	}
	for _, e := range elements {
		if !pathElement.MatchString(e) {
			return Volume{}, fmt.Errorf("path element %q: want letters, digits and ._@+~=-, not starting with . or -", e)
		}
	}
	dir, file := path.Split(u.Path)
	return Volume{Host: host, Port: uint16(port), Dir: path.Clean(dir), File: file}, nil
}

// IsNFS tells an NFS volume from a local one.
func (v Volume) IsNFS() bool { return v.Local == "" }

// FileName is the last element of the name, whose suffix tells the format.
func (v Volume) FileName() string {
	if v.Local != "" {
		return v.Local
	}
	return v.File
}

// String gives the canonical name: two names of one volume give one string.
func (v Volume) String() string {
	if v.Local != "" {
		return "local/" + v.Local
	}
	host := strings.ToLower(v.Host)
	if v.Port != DefaultNFSPort {
		host = net.JoinHostPort(host, strconv.Itoa(int(v.Port)))
	} else if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return "nfs://" + host + path.Join(v.Dir, v.File)
}

// FormatOf gives the format that a file's suffix stands for, or "".
func FormatOf(file string) string {
	switch strings.ToLower(path.Ext(file)) {
	case ".qcow2":
		return FormatQcow2
	case ".iso", ".raw", ".img":
		return FormatRaw
	}
	return ""
}
