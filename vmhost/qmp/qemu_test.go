package qmp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/digitalocean/go-qemu/qmp/raw"
)

// TestQEMU speaks to a real one, which CASEMATE_QEMU names: a program and its
// first arguments, separated by tabs.
func TestQEMU(t *testing.T) {
	prefix := strings.Split(os.Getenv("CASEMATE_QEMU"), "\t")
	if prefix[0] == "" {
		t.Skip("CASEMATE_QEMU is not set: no QEMU to speak to")
	}
	path := filepath.Join(t.TempDir(), "qmp.sock")
	var stderr bytes.Buffer
	cmd := exec.Command(prefix[0], append(prefix[1:],
		"-machine", "none", "-nodefaults", "-display", "none", "-qmp", "unix:"+path+",server=on,wait=off")...)
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		if t.Failed() {
			t.Logf("%s\n%s", cmd, stderr.Bytes())
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	m, err := Dial(ctx, path)
	for ; err != nil && ctx.Err() == nil; m, err = Dial(ctx, path) {
		time.Sleep(20 * time.Millisecond) // the socket is not there yet
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("QEMU %v %s", m.Version(), m.Version().Package)

	var schema json.RawMessage
	if err := m.Execute(ctx, "query-qmp-schema", nil, &schema); err != nil || len(schema) < 64<<10 {
		t.Errorf("query-qmp-schema = %d bytes, %v; want more than 64 KiB", len(schema), err)
	}
	var status struct{ Status string }
	if err := m.Execute(ctx, "query-status", nil, &status); err != nil || status.Status == "" {
		t.Errorf("query-status = %+v, %v", status, err)
	}
	err = m.Execute(ctx, "frobnicate", nil, nil)
	var qe *Error
	if !errors.As(err, &qe) || qe.Class != "CommandNotFound" {
		t.Errorf("frobnicate = %v; want CommandNotFound", err)
	}
	if names, err := raw.NewMonitor(m).QueryCommands(); err != nil || len(names) < 100 {
		t.Errorf("go-qemu's QueryCommands = %d commands, %v", len(names), err)
	}

	file, err := os.CreateTemp(t.TempDir(), "disk")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var set struct {
		ID int `json:"fdset-id"`
		FD int `json:"fd"`
	}
	if err := m.ExecuteFile(ctx, "add-fd", map[string]int{"fdset-id": 7}, file, &set); err != nil || set.ID != 7 {
		t.Errorf("add-fd = %+v, %v; want fdset 7", set, err)
	}
	if err := m.Execute(ctx, "add-fd", map[string]int{"fdset-id": 7}, nil); !errors.As(err, &qe) {
		t.Errorf("add-fd without a descriptor = %v; want *Error", err)
	}

	// A second session, as a new manager has it.
	if err := m.Disconnect(); err != nil {
		t.Error(err)
	}
	if m, err = Dial(ctx, path); err != nil {
		t.Fatalf("second session: %v", err)
	}
	events, err := m.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Execute(ctx, "quit", nil, nil); err != nil {
		t.Errorf("quit = %v", err)
	}
	var names []string
	for e := range events {
		names = append(names, e.Event)
	}
	if len(names) != 1 || names[0] != "SHUTDOWN" {
		t.Errorf("events until the end = %v; want SHUTDOWN", names)
	}
	if err := m.Err(); !errors.Is(err, io.EOF) {
		t.Errorf("Err() = %v; want io.EOF", err)
	}
	if err := <-exited; err != nil {
		t.Errorf("QEMU: %v", err)
	}
}
