// agntcy/dir's own client, streams, generated code and CIDs, against the server on the port that is given: pushes the records of a file of NDJSON,
// pulls them, looks them up, deletes them, and counts what is not as it says.
package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"

	corev1 "github.com/agntcy/dir/api/core/v1"
	storev1 "github.com/agntcy/dir/api/store/v1"
	"github.com/agntcy/dir/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func readRecords(path string) (records []*corev1.Record) {
	file, err := os.Open(path)
	must(err)
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		data := &structpb.Struct{}
		must(data.UnmarshalJSON(lines.Bytes()))
		records = append(records, &corev1.Record{Data: data})
	}
	must(lines.Err())
	return records
}

func main() {
	ctx := context.Background()
	records := readRecords(os.Args[2])
	connection, err := grpc.NewClient("127.0.0.1:"+os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(err)
	store := &client.Client{StoreServiceClient: storev1.NewStoreServiceClient(connection)}
	wrong := 0
	refs, err := store.PushBatch(ctx, records)
	must(err)
	for i, ref := range refs {
		if ref.GetCid() != records[i].GetCid() {
			wrong++
		}
	}
	pulled, err := store.PullBatch(ctx, refs)
	must(err)
	for i, record := range pulled {
		got, _ := record.Marshal()
		expected, _ := records[i].Marshal()
		if !bytes.Equal(got, expected) {
			wrong++
		}
	}
	metas, err := store.LookupBatch(ctx, refs)
	must(err)
	for i, meta := range metas {
		if meta.GetCid() != refs[i].GetCid() {
			wrong++
		}
	}
	must(store.DeleteBatch(ctx, refs))
	if _, err := store.Pull(ctx, refs[0]); err == nil {
		wrong++
	}
	fmt.Printf("their client: %d pushed, %d pulled, %d looked up, deleted, %d wrong\n", len(refs), len(pulled), len(metas), wrong)
	if wrong > 0 || len(refs) != len(records) || len(pulled) != len(records) || len(metas) != len(records) {
		os.Exit(1)
	}
}
