package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"casemate/vmhost/spec"

	"github.com/coder/websocket"
)

// maxAnswer is how many bytes of a JSON answer are read: some 10,000 VMs.
const maxAnswer = 32 << 20

// Client speaks to a node. It is a Manager; what the node refuses comes back
// as a *Problem.
type Client struct {
	base string
	http *http.Client
}

var _ Manager = (*Client)(nil)

// NewClient gives a client for the API below baseURL, such as
// https://node:8443. hc has the client certificate and must have no Timeout,
// which would end consoles; nil is http.DefaultClient.
func NewClient(baseURL string, hc *http.Client) *Client {
	if hc == nil {
		hc = http.DefaultClient
	}
	return &Client{strings.TrimSuffix(baseURL, "/"), hc}
}

// Capabilities says what the node is.
func (c *Client) Capabilities(ctx context.Context) (Capabilities, error) {
	return call[Capabilities](ctx, c, http.MethodGet, "/v1/capabilities", nil)
}

// List gives all VMs of the node.
func (c *Client) List(ctx context.Context) ([]VM, error) {
	return call[[]VM](ctx, c, http.MethodGet, "/v1/vms", nil)
}

// Get gives one VM.
func (c *Client) Get(ctx context.Context, name string) (VM, error) {
	return call[VM](ctx, c, http.MethodGet, vmPath(name), nil)
}

// Create makes a VM of the document.
func (c *Client) Create(ctx context.Context, doc spec.VM) (VM, error) {
	return call[VM](ctx, c, http.MethodPost, "/v1/vms", doc)
}

// CreateAndStart makes a VM and starts it; if it does not start there is none.
func (c *Client) CreateAndStart(ctx context.Context, doc spec.VM) (VM, error) {
	return call[VM](ctx, c, http.MethodPost, "/v1/vms?start=true", doc)
}

// Delete forgets a VM that is shut off.
func (c *Client) Delete(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, vmPath(name))
}

// Start starts a VM.
func (c *Client) Start(ctx context.Context, name string) (VM, error) {
	return c.act(ctx, name, "start")
}

// Shutdown presses the ACPI power button.
func (c *Client) Shutdown(ctx context.Context, name string) (VM, error) {
	return c.act(ctx, name, "shutdown")
}

// Stop ends a VM at once.
func (c *Client) Stop(ctx context.Context, name string) (VM, error) { return c.act(ctx, name, "stop") }

// Reset presses the reset button.
func (c *Client) Reset(ctx context.Context, name string) (VM, error) {
	return c.act(ctx, name, "reset")
}

// Pause stops the virtual CPUs.
func (c *Client) Pause(ctx context.Context, name string) (VM, error) {
	return c.act(ctx, name, "pause")
}

// Resume lets them go on.
func (c *Client) Resume(ctx context.Context, name string) (VM, error) {
	return c.act(ctx, name, "resume")
}

func (c *Client) act(ctx context.Context, name, verb string) (VM, error) {
	return call[VM](ctx, c, http.MethodPost, vmPath(name)+"/"+verb, nil)
}

// CreateVolume makes a volume.
func (c *Client) CreateVolume(ctx context.Context, req VolumeRequest) (Volume, error) {
	return call[Volume](ctx, c, http.MethodPost, "/v1/volumes", req)
}

// Power has the node power off or reboot.
func (c *Client) Power(ctx context.Context, action PowerAction) error {
	return c.do(ctx, http.MethodPost, "/v1/node/"+url.PathEscape(string(action)))
}

// Logs copies the node's log to w, and goes on until ctx ends if follow.
func (c *Client) Logs(ctx context.Context, w io.Writer, follow bool) error {
	path := "/v1/node/logs"
	if follow {
		path += "?follow=true"
	}
	resp, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err = io.Copy(w, resp.Body); err != nil && ctx.Err() == nil {
		return fmt.Errorf("read the node's log: %w", err)
	}
	return nil
}

// Console attaches to a VM's serial console. It ends with ctx, or when closed.
func (c *Client) Console(ctx context.Context, name string) (io.ReadWriteCloser, error) {
	ws, resp, err := websocket.Dial(ctx, c.base+vmPath(name)+"/console", &websocket.DialOptions{HTTPClient: c.http})
	if err != nil {
		if resp != nil && resp.StatusCode >= 400 {
			return nil, problemFrom(resp)
		}
		return nil, plainError(err)
	}
	ws.SetReadLimit(-1) // the node is trusted with this much
	return websocket.NetConn(ctx, ws, websocket.MessageBinary), nil
}

func vmPath(name string) string { return "/v1/vms/" + url.PathEscape(name) }

// do sends a request whose answer is nothing but a status.
func (c *Client) do(ctx context.Context, method, path string) error {
	resp, err := c.send(ctx, method, path, nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// call sends body as JSON, unless it is nil, and decodes the answer.
func call[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var out T
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&out); err != nil {
		return out, fmt.Errorf("%s %s: the answer is not what it should be: %w", method, path, err)
	}
	return out, nil
}

func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, reader)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, plainError(err)
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, problemFrom(resp)
	}
	return resp, nil
}

// problemFrom reads the problem document of an answer, or makes one of what
// else the other side may have sent.
func problemFrom(resp *http.Response) error {
	p := &Problem{}
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind != "application/problem+json" || json.Unmarshal(data, p) != nil {
		p.Detail = fmt.Sprintf("the node answered %s: %.200q", resp.Status, data)
	}
	p.Status = resp.StatusCode
	if p.Title == "" {
		p.Title = http.StatusText(p.Status)
	}
	return p
}

// plainError drops the method and URL that net/http puts before a cause: a
// command's user typed neither.
func plainError(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return fmt.Errorf("%s: %w", hostOf(ue.URL), ue.Err)
	}
	return err
}

func hostOf(raw string) string {
	if u, err := url.Parse(raw); err == nil && u.Host != "" {
		return u.Host
	}
	return raw
}
