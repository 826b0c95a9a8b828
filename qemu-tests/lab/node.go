package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"casemate/cmd/casemate/pki"
	"casemate/vmhost/api"
)

// Node is a machine at a site that has become a node.
type Node struct {
	*Machine
	Site  *Site
	Ready Ready
	Admin *api.Client
}

// Ready is the node's ready line.
type Ready struct {
	Node, API, Fingerprint, Policy string
	Uptime                         float64 // seconds since the kernel started
	Permissive                     bool
}

// ReadyLine matches the line that a node prints when it serves.
var ReadyLine = regexp.MustCompile(`casemate: ready node=(\S+) api=(\S+) fingerprint=(\S+) policy=(\S+) uptime=([0-9.]+)( permissive=1)?`)

// verdict is what a boot ends with, one way or the other.
const verdict = `casemate: (?:ready |NOT READY|FATAL).*|Kernel panic.*`

// Boot starts a machine and waits until it is ready. If it does not come up the
// error has its whole console, and the machine is stopped.
func (s *Site) Boot(ctx context.Context, cfg Config) (*Node, error) {
	m, err := Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	n := &Node{Machine: m, Site: s}
	line, err := m.Console.Expect(ctx, verdict)
	if err == nil {
		match := ReadyLine.FindStringSubmatch(line[0])
		if match == nil {
			return n.failed(cfg.Name, errors.New(line[0]))
		}
		uptime, _ := strconv.ParseFloat(match[5], 64) // the expression sees to it
		n.Ready = Ready{match[1], match[2], match[3], match[4], uptime, match[6] != ""}
		n.Admin, err = n.Client(s.PKI(), pki.AdminName)
	}
	if err != nil {
		return n.failed(cfg.Name, err)
	}
	return n, nil
}

func (n *Node) failed(name string, err error) (*Node, error) {
	n.Stop()
	return nil, fmt.Errorf("boot %s: %w\n%s", name, err, n.Report())
}

// URL is the API as the host reaches it.
func (n *Node) URL() string { return "https://" + n.Addr(APIPort) }

// Client makes an API client with HTTP's transport.
func (n *Node) Client(folder, name string) (*api.Client, error) {
	hc, err := n.HTTP(folder, name)
	if err != nil {
		return nil, err
	}
	return api.NewClient(n.URL(), hc), nil
}

// HTTP makes a client that trusts the site's authority and shows the certificate
// of that name in a PKI's folder; with no name it shows none.
func (n *Node) HTTP(folder, name string) (*http.Client, error) {
	file := filepath.Join(n.Site.PKI(), pki.AuthorityName+".crt")
	ca, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("no certificate in %s", file)
	}
	config := &tls.Config{RootCAs: roots}
	if name != "" {
		base := filepath.Join(folder, name)
		c, err := tls.LoadX509KeyPair(base+".crt", base+".key")
		if err != nil {
			return nil, err
		}
		// Not Certificates: Go would hold back one whose issuer the server did
		// not ask for, and then nobody could see the server's refusal.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config}}, nil
}

// VM is a guest on a node, and its serial console.
type VM struct {
	api.VM
	Console *Console
	in      io.Writer
}

// StartVM makes a volume on the NFS export of the guest's name, and starts the
// guest with it. The console stays open until the VM ends or ctx does.
func (n *Node) StartVM(ctx context.Context, name string) (*VM, error) {
	volume := n.Site.NFS.URL(name, name+"/root.qcow2")
	if _, err := n.Admin.CreateVolume(ctx, api.VolumeRequest{Volume: volume, Size: 1 << 30}); err != nil {
		return nil, fmt.Errorf("create volume %s: %w", volume, err)
	}
	vm, err := n.Admin.CreateAndStart(ctx, n.Site.VM(name, volume))
	if err != nil {
		return nil, fmt.Errorf("start guest %s: %w", name, err)
	}
	rw, err := n.Admin.Console(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("console of guest %s: %w", name, err)
	}
	return &VM{vm, NewConsole("guest "+name, rw, nil), rw}, nil
}

// WaitReady waits until the guest says that it runs, and under what.
func (v *VM) WaitReady(ctx context.Context) (line string, err error) {
	m, err := v.Console.Expect(ctx, `^guest `+v.Name+` ready .*`)
	if err != nil {
		return "", err
	}
	return m[0], nil
}

// Do types a command (see package guest) and gives the answer after the verb,
// "ok ..." or "error ...".
func (v *VM) Do(ctx context.Context, line string) (string, error) {
	if _, err := io.WriteString(v.in, line+"\n"); err != nil {
		return "", fmt.Errorf("type at guest %s: %w", v.Name, err)
	}
	verb, _, _ := strings.Cut(line, " ")
	m, err := v.Console.Expect(ctx, `^guest `+v.Name+` `+verb+` (.*)`)
	if err != nil {
		return "", err
	}
	return m[1], nil
}
