package spec

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const maxInterfaceName = 15 // IFNAMSIZ less the final NUL

var nodeName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)

// Validate checks a node document after SetDefaults. The error is a Problems
// with everything that is wrong. It looks at no clock: whether certificates are
// valid now is not known before the node has the time.
func (n Node) Validate() error {
	var p Problems
	if len(n.Name) > 63 || !nodeName.MatchString(n.Name) {
		p.add("name", "%q: want a host name of at most 63 of a-z, 0-9, - and .", n.Name)
	}
	p.bridges(n.Network.Bridges)
	p.api(n.API)
	// All ones means "unchanged" to setfsuid(2) and its kin.
	if n.NFS.UID == math.MaxUint32 {
		p.add("nfs.uid", "%d is no user", n.NFS.UID)
	}
	if n.NFS.GID == math.MaxUint32 {
		p.add("nfs.gid", "%d is no group", n.NFS.GID)
	}
	p.media(n.Media)
	return p.err()
}

func (p *Problems) bridges(bridges []Bridge) {
	names, uplinks := map[string]int{}, map[string]int{}
	for i, b := range bridges {
		at := fmt.Sprintf("network.bridges[%d]", i)
		if err := checkInterface(b.Name); err != nil {
			p.add(at+".name", "%v", err)
		} else if first, dup := names[b.Name]; dup {
			p.add(at+".name", "%q is network.bridges[%d]'s already", b.Name, first)
		}
		names[b.Name] = i
		if b.Uplink == UplinkNone {
			continue
		}
		if err := checkInterface(b.Uplink); err != nil {
			p.add(at+".uplink", "%v", err)
		} else if first, dup := uplinks[b.Uplink]; dup {
			p.add(at+".uplink", "%q is network.bridges[%d]'s already", b.Uplink, first)
		}
		uplinks[b.Uplink] = i
	}
	for i, b := range bridges {
		if first, clash := names[b.Uplink]; clash {
			p.add(fmt.Sprintf("network.bridges[%d].uplink", i), "%q is a bridge itself: network.bridges[%d]", b.Uplink, first)
		}
	}
}

// checkInterface follows the kernel's dev_valid_name, and spares the names
// that mean something else in sysctl and in these documents.
func checkInterface(name string) error {
	switch {
	case name == "":
		return errors.New("want an interface name")
	case len(name) > maxInterfaceName:
		return fmt.Errorf("%q: an interface name has at most %d bytes", name, maxInterfaceName)
	case slices.Contains([]string{".", "..", "lo", "all", "default"}, name):
		return fmt.Errorf("%q is not a possible name here", name)
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("/:%\"'\\,", r) }):
		return fmt.Errorf("%q: an interface name has no blank, quote or any of / : %% , \\", name)
	}
	return nil
}

func (p *Problems) api(a API) {
	if a.CA != "" {
		if err := checkCA(a.CA); err != nil {
			p.add("api.ca", "%v", err)
		}
	}
	switch {
	case a.Certificate == "" && a.Key == "":
	case a.Certificate == "":
		p.add("api.certificate", "missing, though there is a key")
	case a.Key == "":
		p.add("api.key", "missing, though there is a certificate")
	default:
		// The error of X509KeyPair says which of the two is wrong, and never
		// quotes the key.
		if _, err := tls.X509KeyPair([]byte(a.Certificate), []byte(a.Key)); err != nil {
			p.add("api.certificate", "with api.key: %v", err)
		}
	}
}

func checkCA(text string) error {
	rest := []byte(text)
	for n := 1; ; n++ {
		block, after := pem.Decode(rest)
		switch {
		case block == nil && n == 1:
			return errors.New("no PEM block in it")
		case block == nil && len(strings.TrimSpace(string(rest))) > 0:
			return fmt.Errorf("something that is not PEM after block %d", n-1)
		case block == nil:
			return nil
		case block.Type != "CERTIFICATE":
			return fmt.Errorf("PEM block %d is a %s, not a CERTIFICATE", n, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("certificate %d: %w", n, err)
		}
		if !cert.IsCA {
			return fmt.Errorf("certificate %d (%s) is not an authority's", n, cert.Subject)
		}
		rest = after
	}
}

func (p *Problems) media(media []Media) {
	names := map[string]int{}
	for i, m := range media {
		at := fmt.Sprintf("media[%d]", i)
		if !pathElement.MatchString(m.Name) {
			p.add(at+".name", "%q: want letters, digits and ._@+~=-, not starting with . or -", m.Name)
		} else if first, dup := names[m.Name]; dup {
			p.add(at+".name", "%q is media[%d]'s already", m.Name, first)
		}
		names[m.Name] = i
		u, err := url.Parse(m.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
			p.add(at+".url", "%q: want http://host/path or https://host/path", m.URL)
		}
		if sum, err := hex.DecodeString(m.SHA256); err != nil || len(sum) != 32 || strings.ToLower(m.SHA256) != m.SHA256 {
			p.add(at+".sha256", "want 64 hex digits in lower case, as sha256sum prints them")
		}
	}
}
