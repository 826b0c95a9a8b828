package vmhost

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"casemate/vmhost/api"
	"casemate/vmhost/spec"
	"casemate/vmhost/volume"
)

// record is what the next manager needs to know of a VM. It lives in /run: a
// node has no memory beyond its next boot.
type record struct {
	Document spec.VM   `json:"document"`
	UUID     string    `json:"uuid"`
	UID      uint32    `json:"uid"`
	Level    string    `json:"level"`
	State    api.State `json:"state"`
	Reason   string    `json:"reason,omitempty"`
	// Run is there while QEMU runs.
	Run *runRecord `json:"run,omitempty"`
}

type runRecord struct {
	PID         int                `json:"pid"`
	StartTime   uint64             `json:"startTime"` // as qemu.Process has it
	Started     time.Time          `json:"started"`
	Directories []volume.Directory `json:"directories,omitempty"`
}

const recordName = "record.json"

func (m *Manager) dir(v *vm) string { return filepath.Join(m.paths.VMs, v.name()) }

// save writes the VM's record, whole or not at all.
func (m *Manager) save(v *vm) error {
	v.saving.Lock()
	defer v.saving.Unlock()
	v.mu.Lock()
	if v.state == deleted {
		v.mu.Unlock()
		return nil
	}
	rec := record{
		Document: v.doc, UUID: v.uuid, UID: v.uid, Level: v.pair.Level(),
		State: v.state, Reason: v.reason,
	}
	if r := v.run; r != nil {
		rec.Run = &runRecord{PID: r.proc.PID, StartTime: r.proc.StartTime, Started: r.started, Directories: r.dirs}
	}
	v.mu.Unlock()
	b, err := json.Marshal(rec)
	if err == nil {
		err = writeAtomically(filepath.Join(m.dir(v), recordName), b)
	}
	if err != nil {
		return fmt.Errorf("record of VM %s: %w", v.name(), err)
	}
	return nil
}

func writeAtomically(path string, content []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, content, 0o600); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return nil
}

// readRecords reads all records below dir. One that is broken is an error
// beside the others: it must not hide them.
func readRecords(dir string) (recs []record, errs []error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, []error{err}
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name(), recordName)
		b, err := os.ReadFile(path)
		var rec record
		if err == nil {
			err = json.Unmarshal(b, &rec)
		}
		if err == nil && rec.Document.Name != e.Name() {
			err = fmt.Errorf("is about VM %q", rec.Document.Name)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("record %s: %w", path, err))
			continue
		}
		recs = append(recs, rec)
	}
	return recs, errs
}
