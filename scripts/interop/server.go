// A server of agntcy/dir's own store controller, generated code and CIDs, around a store in memory. Refuses records that say that they are bad.
package main

import (
	"context"
	"fmt"
	"net"
	"sync"

	corev1 "github.com/agntcy/dir/api/core/v1"
	storev1 "github.com/agntcy/dir/api/store/v1"
	"github.com/agntcy/dir/server/controller"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

type memory struct{ records sync.Map }

func (s *memory) find(ref *corev1.RecordRef) (*corev1.Record, error) {
	record, ok := s.records.Load(ref.GetCid())
	if !ok {
		return nil, status.Errorf(codes.NotFound, "record not found: %s", ref.GetCid())
	}
	return record.(*corev1.Record), nil
}

func (s *memory) Push(_ context.Context, record *corev1.Record) (*corev1.RecordRef, error) {
	cid := record.GetCid()
	s.records.Store(cid, record)
	return &corev1.RecordRef{Cid: cid}, nil
}

func (s *memory) Pull(_ context.Context, ref *corev1.RecordRef) (*corev1.Record, error) {
	return s.find(ref)
}

func (s *memory) Lookup(_ context.Context, ref *corev1.RecordRef) (*corev1.RecordMeta, error) {
	if _, err := s.find(ref); err != nil {
		return nil, err
	}
	return &corev1.RecordMeta{Cid: ref.GetCid(), Annotations: map[string]string{"a": "b"}, SchemaVersion: "1"}, nil
}

func (s *memory) Delete(_ context.Context, ref *corev1.RecordRef) error {
	s.records.Delete(ref.GetCid())
	return nil
}

func (s *memory) IsReady(context.Context) bool { return true }

func (s *memory) ImportRecord(ctx context.Context, record *corev1.Record) (*corev1.RecordRef, error) {
	return s.Push(ctx, record)
}

func (s *memory) ImportReferrer(context.Context, string, *corev1.RecordReferrer) (*corev1.ReferrerRef, error) {
	return nil, status.Error(codes.Unimplemented, "no referrers here")
}

type counters struct{}

func (counters) IncrementLookupCount(string) error { return nil }
func (counters) IncrementPullCount(string) error   { return nil }
func (counters) RemoveRecord(string) error         { return nil }

type validator struct{}

func (validator) ValidateRecord(_ context.Context, data *structpb.Struct) (bool, []string, []string, error) {
	if data.GetFields()["bad"].GetBoolValue() {
		return false, []string{"it says that it is bad"}, nil, nil
	}
	return true, nil, nil, nil
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	server := grpc.NewServer()
	store := &memory{}
	storev1.RegisterStoreServiceServer(server, controller.NewStoreController(store, counters{}, store, nil, validator{}))
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	panic(server.Serve(listener))
}
